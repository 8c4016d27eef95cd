"""Who may ask for how much, and who is kept out. ``docs/guard.md`` tells what is promised.

What is known stands in the database and so holds for all processes. The HTTP API asks
``admit_send``; one-time codes ask ``require_country`` and ``admit_code``, take the toll that the
latter names in the transaction that reserves the code, and report what becomes of it.
"""

from instant_notifications.guard.admission import admit_code, admit_send, charge_send
from instant_notifications.guard.countries import count_costly, require_country
from instant_notifications.guard.holds import note_sent, note_verified
from instant_notifications.guard.limits import Toll, take
from instant_notifications.guard.refusals import counted

__all__ = [
    "Toll",
    "admit_code",
    "admit_send",
    "charge_send",
    "count_costly",
    "counted",
    "note_sent",
    "note_verified",
    "require_country",
    "take",
]
