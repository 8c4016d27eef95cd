"""The guard at the door: what it asks of those who want something sent."""

from collections.abc import Callable

from instant_notifications.exceptions import Blocked, TooManyRequests
from instant_notifications.guard import holds, limits, lists
from instant_notifications.guard.limits import Toll
from instant_notifications.guard.refusals import HELD, LISTED, count
from instant_notifications.guard.subjects import groups_of, network_of
from instant_notifications.models import ListEntry


def admit_send(creator: str, *, unless: Callable[[], bool]) -> None:
    """One request of an organisation; raises ``TooManyRequests``.

    Those for whom ``unless`` holds are counted, but not refused: they only ask what became of what
    they have sent. It is asked only where the answer matters.
    """
    try:
        charge_send(creator)
    except TooManyRequests as refusal:
        if unless():
            return
        count(refusal.limit)
        raise


def charge_send(creator: str) -> None:
    """The same in the transaction that reserves what is to be sent, for those who have one."""
    limits.take(limits.toll_of({"creator": creator}))


def admit_code(recipient: str, *, address: str = "") -> Toll:
    """What a code for this recipient is to be charged: to be taken with ``take``.

    Raises ``Blocked``. ``address`` is the caller's, if there is one.
    """
    verdict = lists.verdict_on(recipient, address)
    if verdict == ListEntry.Verdict.BLOCK:
        raise Blocked(LISTED)
    if verdict == ListEntry.Verdict.ALLOW:
        return ()
    if holds.is_held(recipient):
        raise Blocked(HELD)
    toll = limits.toll_of(_subjects(recipient, address))
    limits.prepare(toll)
    return toll


def _subjects(recipient: str, address: str) -> dict[str, str]:
    """By limit; blank where it does not apply."""
    groups = groups_of(recipient)
    return {
        "recipient": recipient.casefold(),
        "address": network_of(address),
        "prefix": groups.prefix,
        "country": groups.country,
    }
