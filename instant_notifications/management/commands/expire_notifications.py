"""``manage.py expire_notifications [--loop SECONDS] [--dry-run]``"""

from instant_notifications import upkeep
from instant_notifications.management.upkeep import UpkeepCommand


class Command(UpkeepCommand):
    help = (
        "Writes down that messages have expired and workers have died, and sums up the history. "
        f"{UpkeepCommand.__doc__}"
    )
    chores = (*upkeep.EXPIRY, *upkeep.FIGURES)
