"""Whether a person may step in, and what that person should know before."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Final
from uuid import UUID

from django.db.models import BooleanField, Prefetch, Q, QuerySet
from django.db.models.expressions import ExpressionWrapper
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications import rules
from instant_notifications.models import Delivery, Intervention, UnmatchedReceipt, primary
from instant_notifications.statuses import STAGES, Channel, Handover, Stage, is_word_of


class May(Enum):
    YES = "yes"
    IF_SURE = "if sure"
    """Only if the person says that a second message would do no harm."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    may: May
    why: Promise


Sign = Callable[[Delivery, datetime], bool]


def to_judge(delivery_ids: Collection[UUID]) -> QuerySet[Delivery]:
    """Deliveries with what it takes to judge them, read where it is written."""
    successors = Intervention.objects.filter(kind=Intervention.Kind.RESEND, successor__isnull=False)
    resends = successors.select_related("successor").defer(
        "successor__destination", "successor__content"
    )
    return (
        Delivery.objects.using(primary())
        .filter(pk__in=delivery_ids)
        .select_related("shipment")
        .defer("content")
        .annotate(has_content=ExpressionWrapper(Q(content__isnull=False), BooleanField()))
        .prefetch_related(Prefetch("interventions", resends.order_by("pk"), to_attr="resends"))
        .order_by("pk")
    )


def successors_of(delivery: Delivery) -> Sequence[Delivery]:
    """What has been made of it so far; of a delivery that was read by ``to_judge``."""
    return [each.successor for each in delivery.resends]  # type: ignore[attr-defined]


def is_unsent(delivery: Delivery) -> bool:
    """It certainly was not sent, and still could be."""
    return delivery.handover == Handover.OPEN and delivery.completed_at is None


def may_resend(delivery: Delivery, now: datetime) -> Verdict:
    return _first(_RESEND, delivery, now)


def may_cancel(delivery: Delivery, now: datetime) -> Verdict:
    return _first(_CANCEL, delivery, now)


def may_expire(delivery: Delivery, now: datetime) -> Verdict:
    return _first(_EXPIRE, delivery, now)


def may_match(kept: UnmatchedReceipt, delivery: Delivery, now: datetime) -> Verdict:
    signs = ((partial(sign, kept), verdict) for sign, verdict in _MATCH)
    return _first([*signs, _BELONGS], delivery, now)


def _first(table: Sequence[tuple[Sign, Verdict]], delivery: Delivery, now: datetime) -> Verdict:
    return next(verdict for sign, verdict in table if sign(delivery, now))


def _always(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return True


def _is_secret(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return delivery.secret


def _is_erased(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    has_content: bool = delivery.has_content  # type: ignore[attr-defined]
    return not (has_content and delivery.destination)


def _is_being_sent(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return delivery.leased


def _is_at_its_end(delivery: Delivery, now: datetime) -> bool:
    return (delivery.expires_at - now).total_seconds() < rules.MIN_TIME_TO_LIVE


def _may_not_be_written_to(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    try:
        _RECIPIENT[Channel(delivery.channel)](delivery.destination, "to")
    except rules.Broken:
        return True
    return False


def _has_arrived(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return STAGES[delivery.status] is Stage.DELIVERED


def _was_resent(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return any(map(_may_arrive, successors_of(delivery)))


def _may_arrive(delivery: Delivery) -> bool:
    failed = STAGES[delivery.status] in (Stage.FAILED, Stage.EXPIRED)
    return not (failed or is_unsent(delivery))


def _is_in_doubt(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return delivery.handover in (Handover.UNKNOWN, Handover.UNDER_WAY)


def _is_with_a_gateway(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return STAGES[delivery.status] is Stage.ACCEPTED


def _is_unsent(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return is_unsent(delivery)


def _has_ended(delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return delivery.completed_at is not None


def _is_overdue(delivery: Delivery, now: datetime) -> bool:
    return delivery.overdue(now)


_RECIPIENT: Final = {Channel.SMS: rules.mobile_number, Channel.EMAIL: rules.email_address}

ERASED: Final = Verdict(May.NO, _("Its text or its recipient has been erased."))

_RESEND: Final[Sequence[tuple[Sign, Verdict]]] = (
    (_is_secret, Verdict(May.NO, _("It is secret: instead of sending it again, make a new one."))),
    (_is_erased, ERASED),
    (_is_being_sent, Verdict(May.NO, _("It is being sent at this moment."))),
    (_is_at_its_end, Verdict(May.NO, _("Its time has run out, or will within a minute."))),
    (_may_not_be_written_to, Verdict(May.NO, _("Its recipient is not allowed any more."))),
    (_has_arrived, Verdict(May.IF_SURE, _("It has been delivered: it would arrive twice."))),
    (_was_resent, Verdict(May.IF_SURE, _("It has been sent again before, and that may arrive."))),
    (_is_in_doubt, Verdict(May.IF_SURE, _("Nobody knows whether it was sent: it may come twice."))),
    (_is_with_a_gateway, Verdict(May.IF_SURE, _("A gateway has taken it: it may have arrived."))),
    (
        _is_unsent,
        Verdict(May.YES, _("It was not sent. A repeat of the request will then be refused.")),
    ),
    (_always, Verdict(May.YES, _("It has failed. A new message is made of it."))),
)

_CANCEL: Final[Sequence[tuple[Sign, Verdict]]] = (
    (_has_ended, Verdict(May.NO, _("It has come to its end."))),
    (_is_being_sent, Verdict(May.NO, _("It is being sent at this moment."))),
    (
        _is_unsent,
        Verdict(May.YES, _("It was not sent, and will not be, however often it is asked for.")),
    ),
    (_always, Verdict(May.NO, _("It has left, or may have: nobody can call it back."))),
)

_EXPIRE: Final[Sequence[tuple[Sign, Verdict]]] = (
    (_has_ended, Verdict(May.NO, _("It has come to its end."))),
    (_is_being_sent, Verdict(May.NO, _("It is being sent at this moment."))),
    (_is_overdue, Verdict(May.YES, _("Its time has run out without a last word."))),
    (_always, Verdict(May.NO, _("It has time left."))),
)


def _is_anothers(kept: UnmatchedReceipt, delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return delivery.gateway not in ("", kept.gateway)


def _is_of_another_kind(kept: UnmatchedReceipt, delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return kept.status != "" and not is_word_of(delivery.channel, kept.status)


def _is_known_otherwise(kept: UnmatchedReceipt, delivery: Delivery, now: datetime) -> bool:  # noqa: ARG001
    return "" not in (delivery.gateway_reference, kept.gateway_reference)


_MATCH: Final = (
    (_is_anothers, Verdict(May.NO, _("The message went by another gateway."))),
    (_is_of_another_kind, Verdict(May.NO, _("The receipt speaks of another channel."))),
    (
        _is_known_otherwise,
        Verdict(May.IF_SURE, _("The gateway knows the message by another reference.")),
    ),
)

_BELONGS: Final = (_always, Verdict(May.YES, _("The receipt may be about this message.")))
