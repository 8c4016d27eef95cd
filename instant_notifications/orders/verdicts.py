"""Whether a person may step in, and what that person should know before."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Final
from uuid import UUID

from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import ExpressionWrapper
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications import rules
from instant_notifications.models import (
    Delivery,
    Intervention,
    StatusEvent,
    UnmatchedReceipt,
    primary,
)
from instant_notifications.statuses import STAGES, Cause, Channel, Handover, Stage, is_word_of


class May(Enum):
    YES = "yes"
    IF_SURE = "if sure"
    """Only if the person says that a second message would do no harm."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    may: May
    why: Promise


@dataclass(frozen=True, slots=True)
class Matter:
    """A delivery with what it takes to judge it."""

    delivery: Delivery
    family: Sequence[Delivery]
    """Everything that carries the same message: the original, then what was made of it."""

    @property
    def original(self) -> Delivery:
        return self.family[0]

    @property
    def resends(self) -> Sequence[Delivery]:
        return self.family[1:]

    @property
    def relatives(self) -> Sequence[Delivery]:
        return [each for each in self.family if each.pk != self.delivery.pk]


Sign = Callable[[Matter, datetime], bool]
Table = Sequence[tuple[Sign, Verdict]]


def to_judge(delivery_ids: Collection[UUID]) -> Sequence[Matter]:
    """The matters of these deliveries, read where they are written."""
    deliveries = list(_with_signs().filter(pk__in=delivery_ids).order_by("pk"))
    originals = {each.pk: _original_of(each) for each in deliveries}
    families = _families(set(originals.values()))
    return [Matter(each, _with(each, families[originals[each.pk]])) for each in deliveries]


def _with(delivery: Delivery, family: Sequence[Delivery]) -> Sequence[Delivery]:
    """The family with this very reading of the delivery: what is judged is what is acted upon."""
    return [delivery if each.pk == delivery.pk else each for each in family]


def _with_signs() -> QuerySet[Delivery]:
    cancellations = Intervention.objects.filter(
        delivery=OuterRef("pk"), kind=Intervention.Kind.CANCEL
    )
    of_callers = StatusEvent.objects.filter(delivery=OuterRef("pk"), cause=Cause.CALLER)
    return (
        Delivery.objects.using(primary())
        .select_related("shipment", "origin")
        .defer("content")
        .annotate(
            has_content=ExpressionWrapper(Q(content__isnull=False), BooleanField()),
            was_cancelled=ExpressionWrapper(
                Exists(cancellations) | Exists(of_callers), BooleanField()
            ),
        )
    )


def _original_of(delivery: Delivery) -> UUID:
    """Resends of resends are noted with the original, so that there is one family."""
    origin: Intervention | None = getattr(delivery, "origin", None)
    return origin.delivery_id if origin else delivery.pk


def _families(originals: Collection[UUID]) -> Mapping[UUID, Sequence[Delivery]]:
    whole = Delivery.objects.using(primary()).without_secrets()
    families = {key: [each] for key, each in whole.in_bulk(originals).items()}
    resends = Intervention.objects.using(primary()).filter(
        delivery__in=originals, kind=Intervention.Kind.RESEND, successor__isnull=False
    )
    made = resends.order_by("pk").values_list("delivery", "successor")
    successors = whole.select_related("shipment").in_bulk([successor for _, successor in made])
    for original, successor in made:
        families[original].append(successors[successor])
    return families


def may_resend(matter: Matter, now: datetime) -> Verdict:
    return _first(_RESEND, matter, now)


def may_cancel(matter: Matter, now: datetime) -> Verdict:
    return _first(_CANCEL, matter, now)


def may_expire(matter: Matter, now: datetime) -> Verdict:
    return _first(_EXPIRE, matter, now)


def may_match(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> Verdict:
    signs = ((partial(sign, kept), verdict) for sign, verdict in _MATCH)
    return _first([*signs, _BELONGS], matter, now)


def _first(table: Table, matter: Matter, now: datetime) -> Verdict:
    return next(verdict for sign, verdict in table if sign(matter, now))


def _of_delivery(sign: Callable[[Delivery], bool]) -> Sign:
    """A sign that the delivery itself bears, at any time."""
    return lambda matter, now: sign(matter.delivery)  # noqa: ARG005


def _always(matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return True


def _is_missing(delivery: Delivery) -> bool:
    has_content: bool = delivery.has_content  # type: ignore[attr-defined]
    return not (has_content and delivery.destination)


def _is_at_its_end(matter: Matter, now: datetime) -> bool:
    return (matter.delivery.expires_at - now).total_seconds() < rules.MIN_TIME_TO_LIVE


def _may_not_be_written_to(delivery: Delivery) -> bool:
    try:
        rules.RECIPIENT[Channel(delivery.channel)](delivery.destination, "to")
    except rules.Broken:
        return True
    return False


def _has_arrived(delivery: Delivery) -> bool:
    return STAGES[delivery.status] is Stage.DELIVERED


def _has_failed(delivery: Delivery) -> bool:
    return STAGES[delivery.status] is Stage.FAILED


def _may_arrive(delivery: Delivery) -> bool:
    if delivery.may_have_left:
        return True
    certainly_not = delivery.handover in (Handover.OPEN, Handover.REFUSED)
    return not (certainly_not or _has_failed(delivery))


def _a_relative_may_arrive(matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return any(map(_may_arrive, matter.relatives))


def _is_in_doubt(delivery: Delivery) -> bool:
    return delivery.handover in (Handover.UNKNOWN, Handover.UNDER_WAY)


def _failed_after_doubt(delivery: Delivery) -> bool:
    return delivery.may_have_left and _has_failed(delivery)


def _was_cancelled(delivery: Delivery) -> bool:
    was_cancelled: bool = delivery.was_cancelled  # type: ignore[attr-defined]
    return was_cancelled


def _is_overdue(matter: Matter, now: datetime) -> bool:
    return matter.delivery.overdue(now)


_is_secret = _of_delivery(lambda delivery: delivery.secret)
_is_being_sent = _of_delivery(lambda delivery: delivery.leased)
_has_ended = _of_delivery(lambda delivery: delivery.completed_at is not None)
_waits = _of_delivery(lambda delivery: delivery.unsent)
_is_due_by_itself = _of_delivery(lambda delivery: delivery.unsent and delivery.due_at is not None)

MISSING: Final = Verdict(May.NO, _("Its text or its recipient is not kept, or cannot be read."))
_BUSY: Final = Verdict(May.NO, _("It is being sent at this moment."))

_RESEND: Final[Table] = (
    (_is_secret, Verdict(May.NO, _("It is secret: instead of sending it again, make a new one."))),
    (_of_delivery(_is_missing), MISSING),
    (_is_being_sent, _BUSY),
    (_is_at_its_end, Verdict(May.NO, _("Its time has run out, or will within a minute."))),
    (
        _of_delivery(_may_not_be_written_to),
        Verdict(May.NO, _("Its recipient is not allowed any more.")),
    ),
    (
        _of_delivery(_has_arrived),
        Verdict(May.IF_SURE, _("It has been delivered: it would arrive twice.")),
    ),
    (
        _a_relative_may_arrive,
        Verdict(May.IF_SURE, _("It has been sent again before, and that may arrive.")),
    ),
    (
        _of_delivery(_is_in_doubt),
        Verdict(May.IF_SURE, _("Nobody knows whether it was sent: it may come twice.")),
    ),
    (
        _of_delivery(_failed_after_doubt),
        Verdict(May.IF_SURE, _("It failed at last, but an earlier attempt may have sent it.")),
    ),
    (
        _of_delivery(_may_arrive),
        Verdict(May.IF_SURE, _("A gateway took it: it may arrive, or has.")),
    ),
    (
        _of_delivery(_was_cancelled),
        Verdict(May.IF_SURE, _("Somebody cancelled it: it was not to be sent.")),
    ),
    (
        _is_due_by_itself,
        Verdict(
            May.YES, _("It waits to be sent by itself. A new one goes now, and this one never.")
        ),
    ),
    (_waits, Verdict(May.YES, _("It was not sent. A repeat of the request will then be refused."))),
    (_always, Verdict(May.YES, _("It has failed. A new message is made of it."))),
)

_ENDED: Final = Verdict(May.NO, _("It has come to its end."))

_CANCEL: Final[Table] = (
    (_has_ended, _ENDED),
    (_is_being_sent, _BUSY),
    (_waits, Verdict(May.YES, _("It was not sent, and will not be, however often it is tried."))),
    (_always, Verdict(May.NO, _("It has left, or may have: nobody can call it back."))),
)

_EXPIRE: Final[Table] = (
    (_has_ended, _ENDED),
    (_is_being_sent, _BUSY),
    (_is_overdue, Verdict(May.YES, _("Its time has run out without a last word."))),
    (_always, Verdict(May.NO, _("It has time left."))),
)


def _is_anothers(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return matter.delivery.gateway not in ("", kept.gateway)


def _is_of_another_kind(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return kept.status != "" and not is_word_of(matter.delivery.channel, kept.status)


def _came_before_it(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return kept.received_at < matter.delivery.created_at


def _was_not_sent(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return not _may_arrive(matter.delivery) and not _has_failed(matter.delivery)


def _is_known_otherwise(kept: UnmatchedReceipt, matter: Matter, now: datetime) -> bool:  # noqa: ARG001
    return "" not in (matter.delivery.gateway_reference, kept.gateway_reference)


_MATCH: Final = (
    (_is_anothers, Verdict(May.NO, _("The message went by another gateway."))),
    (_is_of_another_kind, Verdict(May.NO, _("The receipt speaks of another channel."))),
    (_came_before_it, Verdict(May.NO, _("The receipt came before the message was asked for."))),
    (_was_not_sent, Verdict(May.IF_SURE, _("As far as we know, the message was not sent."))),
    (
        _is_known_otherwise,
        Verdict(May.IF_SURE, _("The gateway knows the message by another reference.")),
    ),
)

_BELONGS: Final = (_always, Verdict(May.YES, _("The receipt may be about this message.")))
