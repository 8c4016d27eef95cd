"""``manage.py purge_codes [--loop SECONDS] [--dry-run]``"""

from instant_notifications.management.upkeep import UpkeepCommand
from instant_notifications.otp import upkeep


class Command(UpkeepCommand):
    help = f"Forgets whom one-time codes were sent to, and when. {UpkeepCommand.__doc__}"
    chores = upkeep.CODES
