"""Make deliveries of plans that are due, once: ask the condition, look the recipients up, write."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications import (
    conditions,
    contacts,
    feed,
    privacy,
    record,
    rules,
    telemetry,
    windows,
)
from instant_notifications.contacts.base import Contact
from instant_notifications.dispatch import pause_after
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.history import Change
from instant_notifications.models import Delivery, Notice, Plan, primary
from instant_notifications.planning import claims
from instant_notifications.planning.letters import Letter, Texts, letters
from instant_notifications.recipients import WAYS, Recipient
from instant_notifications.statuses import WORDS, Cause, Channel, Ended, Handover

logger = logging.getLogger("instant_notifications")

LIFETIME: Final = timedelta(seconds=rules.MAX_TIME_TO_LIVE)
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)


def plan(shipment_ids: Sequence[UUID]) -> Sequence[UUID]:
    """See to the plans that are due, and return the deliveries that are to be handed over now.

    Those are claimed already. What is not due, or has ended, is left alone. What goes wrong with
    one does not keep the others from being planned.
    """
    with telemetry.span("plan", shipments=len(shipment_ids)):
        return _plan(shipment_ids)


def _plan(shipment_ids: Sequence[UUID]) -> Sequence[UUID]:
    patience = claims.Patience()
    met = _those_to_be_sent(_due(shipment_ids), patience)
    recipients = _recipients(met)
    known, away = _look_up(met, recipients, patience)
    texts = cache(_texts)
    written: dict[Plan, Sequence[Letter]] = {}
    for each in met:
        ready = each.pk in recipients and each.pk not in away
        mail = _letters(each, recipients[each.pk], known, texts) if ready else None
        if mail is None and _is_late(each):
            mail = [_expired(recipients.get(each.pk))]
        if mail is None:
            _postpone_again(each)
        else:
            written[each] = mail
    return _carried_out(written) if written else []


def _due(shipment_ids: Sequence[UUID]) -> Sequence[Plan]:
    plans = Plan.objects.using(primary()).select_related("notice", "shipment")
    due = plans.filter(pk__in=shipment_ids, due_at__lte=timezone.now() + rules.CLOCK_LEEWAY)
    return list(due.order_by("pk"))


def _those_to_be_sent(plans: Sequence[Plan], patience: claims.Patience) -> Sequence[Plan]:
    """Those whose condition is met, if they have one. The others are ended, or asked later."""
    notices = {each.notice_id: each.notice for each in plans}
    answers = {key: _is_met(notice, patience) for key, notice in notices.items()}
    end([each.pk for each in plans if answers[each.notice_id] is False], Ended.CONDITION_NOT_MET)
    for key, notice in notices.items():
        if answers[key] is None:
            _postpone_until_asked([each.pk for each in plans if each.notice_id == key], notice)
    return [each for each in plans if answers[each.notice_id]]


def _is_met(notice: Notice, patience: claims.Patience) -> bool | None:
    """``None``: to be asked again later. The second time without an answer counts as met."""
    if notice.condition_met is not None or not notice.condition:
        return notice.condition_met is not False
    now, asked_at = timezone.now(), notice.condition_asked_at
    if patience.is_over or (asked_at and now < asked_at + ASK_AGAIN_AFTER):
        return None
    answer = conditions.ask(notice.condition, for_=f"notice {notice.pk}")
    rows = Notice.objects.using(primary()).filter(pk=notice.pk, condition_met=None)
    if answer is None and asked_at is None:
        notice.condition_asked_at = now
        rows.filter(condition_asked_at=None).update(condition_asked_at=now)
        return None
    notice.condition_met = answer is not False
    if not rows.update(condition_met=notice.condition_met):
        # Another worker has heard another answer: the first holds for all recipients.
        notice.refresh_from_db(using=primary(), fields=["condition_met"])
    return notice.condition_met


def _recipients(plans: Sequence[Plan]) -> Mapping[UUID, Recipient | None]:
    """``None`` for one that no key in force opens. Left out are those that nobody understands: a
    newer version may have written them, and read them yet."""
    read: dict[UUID, Recipient | None] = {}
    for each in plans:
        try:
            stored = json.loads(each.recipient) if each.recipient else None
            read[each.pk] = Recipient.from_json(stored) if stored else None
        except (KeyError, TypeError, ValueError) as error:
            logger.error(  # noqa: TRY400
                "plan not understood shipment=%s error=%s", each.pk, privacy.place_of(error)
            )
    return read


def _texts(notice: Notice) -> Texts:
    texts: Texts = json.loads(notice.content) if notice.content else {}
    return texts


def _letters(
    each: Plan,
    recipient: Recipient | None,
    known: Mapping[Recipient, Contact],
    texts: Callable[[Notice], Texts],
) -> Sequence[Letter] | None:
    """``None`` if that goes wrong."""
    try:
        said = texts(each.notice)
        if recipient is None or not said:
            return [Letter(Channel.SMS, failure=WORDS[Channel.SMS].failed)]
        return letters(recipient, known.get(recipient), said)
    except Exception as error:  # noqa: BLE001 (closed by default, one by one)
        logger.error("not planned shipment=%s error=%s", each.pk, privacy.place_of(error))  # noqa: TRY400
        return None


def _expired(recipient: Recipient | None) -> Letter:
    channel = WAYS[recipient.schema].channels[0] if recipient else Channel.SMS
    return Letter(channel, failure=WORDS[channel].expired)


def _look_up(
    plans: Sequence[Plan], recipients: Mapping[UUID, Recipient | None], patience: claims.Patience
) -> tuple[Mapping[Recipient, Contact], Collection[UUID]]:
    """What the register says, and the plans of which it could say nothing.

    All are asked about at once; those of which that went wrong before one by one, lest somebody it
    stumbles over stand in the way of the others.
    """
    sought = {key: whom for key, whom in recipients.items() if whom and whom.is_looked_up}
    asked = [each for each in plans if each.pk in sought]
    together = [each for each in asked if not each.postponed]
    known: dict[Recipient, Contact] = {}
    away: set[UUID] = set()
    for group in (together, *([each] for each in asked if each.postponed)):
        whom = [sought[each.pk] for each in group]
        try:
            known |= contacts.look_up(whom) if whom and not patience.is_over else {}
        except (Unavailable, NotConfigured) as error:
            logger.warning("contacts not looked up plans=%d reason=%s", len(group), error)
            away |= {each.pk for each in group}
        if patience.is_over:
            away |= {each.pk for each in group if sought[each.pk] not in known}
    return known, away


def _is_late(each: Plan) -> bool:
    """There is no time left to wait for what stands in its way."""
    return timezone.now() >= each.notice.requested_at + LIFETIME


def _postpone_again(each: Plan) -> None:
    due_at = timezone.now() + pause_after(each.postponed + 1)
    _waiting([each.pk]).update(due_at=due_at, claimed_until=None, postponed=each.postponed + 1)


def _postpone_until_asked(shipment_ids: Sequence[UUID], notice: Notice) -> None:
    due_at = (notice.condition_asked_at or timezone.now()) + ASK_AGAIN_AFTER
    _waiting(shipment_ids).update(due_at=due_at, claimed_until=None)


def _waiting(shipment_ids: Sequence[UUID]) -> QuerySet[Plan]:
    return Plan.objects.using(primary()).filter(pk__in=shipment_ids, ended="")


def end(shipment_ids: Sequence[UUID], ended: Ended) -> Sequence[UUID]:
    """Let plans end without a delivery, and tell the feed; returns those that had not ended."""
    now = timezone.now()
    with transaction.atomic(using=primary()):
        ending = _lock(shipment_ids)
        _mark_ended(list(ending), ended, now)
        feed.tell_ended((ending[key].shipment for key in sorted(ending)), ended, now)
    return list(ending)


def _lock(shipment_ids: Sequence[UUID]) -> Mapping[UUID, Plan]:
    """The plans among these that have not ended, in nobody else's hands till the commit."""
    waiting = _waiting(shipment_ids).order_by("pk")
    locked = list(waiting.select_for_update().values_list("pk", flat=True)) if shipment_ids else []
    return (
        Plan.objects.using(primary()).select_related("shipment").defer("recipient").in_bulk(locked)
    )


def _mark_ended(shipment_ids: Sequence[UUID], ended: Ended, now: datetime) -> None:
    Plan.objects.using(primary()).filter(pk__in=shipment_ids).update(
        ended=ended, ended_at=now, due_at=None, claimed_until=None, recipient=None
    )


def _carried_out(written: Mapping[Plan, Sequence[Letter]]) -> Sequence[UUID]:
    """All at once; one by one if that goes wrong, so that none stands in the way of the others."""
    try:
        return _carry_out(written)
    except (InterfaceError, OperationalError):
        raise
    except Exception as error:  # noqa: BLE001 (closed by default, one by one)
        one, *others = written
        if not others:
            logger.error("not planned shipment=%s error=%s", one.pk, privacy.place_of(error))  # noqa: TRY400
            _postpone_again(one)
            return []
    return [key for each, mail in written.items() for key in _carried_out({each: mail})]


def _carry_out(written: Mapping[Plan, Sequence[Letter]]) -> Sequence[UUID]:
    """In one transaction: the plans end, and their deliveries begin."""
    now = timezone.now()
    with transaction.atomic(using=primary()):
        ending = _lock([each.pk for each in written])
        pairs = [
            (delivery_of(each, letter, now), letter)
            for each, mail in written.items()
            if each.pk in ending
            for letter in mail
        ]
        _mark_ended(list(ending), Ended.PLANNED, now)
        Delivery.objects.using(primary()).bulk_create([delivery for delivery, _ in pairs])
        record.record_all([(each.pk, _failure(letter)) for each, letter in pairs if letter.failure])
    return [each.pk for each, letter in pairs if each.claimed_until]


def _failure(letter: Letter) -> Change:
    return Change(cause=Cause.LOOKUP, status=letter.failure, handover=Handover.REFUSED)


def delivery_of(each: Plan, letter: Letter, now: datetime) -> Delivery:
    requested_at = each.notice.requested_at
    due_at = windows.opening(now) if letter.daytime else now
    return Delivery(
        shipment=each.shipment,
        channel=letter.channel,
        destination=letter.destination,
        destination_digest=privacy.digest(letter.destination) if letter.destination else "",
        content=json.dumps(letter.content, ensure_ascii=False) if letter.content else None,
        segments=letter.segments,
        daytime=letter.daytime,
        status=WORDS[letter.channel].new,
        handover=Handover.OPEN,
        due_at=None if letter.failure else due_at,
        claimed_until=now + claims.lease() if due_at <= now and not letter.failure else None,
        created_at=now,
        updated_at=now,
        expires_at=_expiry(windows.opening(requested_at), due_at, now)
        if letter.daytime
        else requested_at + LIFETIME,
    )


def _expiry(opened_at: datetime, due_at: datetime, now: datetime) -> datetime:
    """Of what may only go by day. A night in which it could not be sent does not count, as long as
    there was life left in it."""
    is_late = now >= opened_at + LIFETIME
    return (opened_at if is_late else max(opened_at, due_at)) + LIFETIME
