"""Work regular orders off: claim what is due, make deliveries of plans, hand deliveries over.

Each step can be done by any number of processes at once and any number of times: the rows say
what is still to do, and a step that has been done changes nothing.
"""

from instant_notifications.planning.claims import Queued, claim, release, room
from instant_notifications.planning.planner import plan
from instant_notifications.planning.sender import hand_over

__all__ = ["Queued", "claim", "hand_over", "plan", "release", "room"]
