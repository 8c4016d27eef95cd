"""``manage.py purge_notifications [--loop SECONDS] [--dry-run]``"""

from instant_notifications import upkeep
from instant_notifications.management.upkeep import UpkeepCommand


class Command(UpkeepCommand):
    help = f"Erases and deletes what is older than the KEEP_… settings. {UpkeepCommand.__doc__}"
    chores = (*upkeep.RETENTION, *upkeep.GUARD)
