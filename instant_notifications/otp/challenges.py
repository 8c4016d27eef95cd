"""Issue a code, send it, verify what comes back.

An attempt is counted before the code is compared, and a success is one conditional update: however
many try at once, a code is tried a few times and good for one. What is kept of a code is written
down once it has been handed over: one that its worker did not live to send is good for nobody.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any, Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from instant_notifications import guard, orders, privacy, rules, telemetry
from instant_notifications.conf import settings
from instant_notifications.exceptions import InvalidMessage, NotificationError, OutcomeUnknown
from instant_notifications.models import primary, refuse_open_transaction, uuid7
from instant_notifications.otp import codes
from instant_notifications.otp.exceptions import TooManyCodes, Unknown
from instant_notifications.otp.models import PURPOSE_LENGTH, Challenge, Recipient
from instant_notifications.otp.texts import language_for, text_of
from instant_notifications.statuses import Channel

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class Reason(StrEnum):
    """Why a code was not accepted; blank for one that was."""

    NONE = ""
    NOT_FOUND = "NO_OTP_FOUND"
    EXPIRED = "OTP_EXPIRED"
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"
    WRONG = "INVALID_OTP"


@dataclass(frozen=True, slots=True)
class Result:
    verified: bool
    reason: Reason = Reason.NONE
    attempts_left: int = 0

    def __bool__(self) -> bool:
        """Whether it was verified: ``if otp.verify(…)`` lets nobody in by accident."""
        return self.verified


@sensitive_variables()  # the code, the recipient, the text: no report of an error may quote them
def issue(
    recipient: str,
    *,
    purpose: str,
    channel: str = "sms",
    user: Any = None,
    session: str = "",
    language: str = "",
    creator: str = "",
    address: str = "",
) -> Challenge:
    """Send a new code for this purpose; any older one for it is void from now on.

    A code that is bound to a ``user`` or a ``session`` can be verified only by them. ``address`` is
    that of whoever asks for it, for the guard. Raises ``InvalidMessage``, ``TooManyRequests`` (of
    which ``TooManyCodes`` is a kind), ``Blocked``, or, if the code did not leave, ``Rejected`` or
    ``Unavailable``. Where nobody knows whether it left, the challenge stands; ``OutcomeUnknown``
    is raised only if the database went away meanwhile, and then a code that arrives is void.
    """
    wanted = _wanted(recipient, purpose, channel)
    challenge = Challenge(
        creator=creator or settings.DEFAULT_CREATOR,
        purpose=purpose,
        channel=channel,
        destination=wanted,
        destination_digest=privacy.digest(wanted),
        user_hash=_hashes_of_user(user)[0],
        session_hash=_hashes_of_session(session)[0],
        language=language_for(language),
    )
    return _send(challenge, address)


@sensitive_variables()
def resend(
    challenge_id: UUID,
    *,
    purpose: str | None,
    user: Any = None,
    session: str = "",
    creator: str = "",
    address: str = "",
) -> Challenge:
    """Send a *new* code to the same recipient; the old one is void.

    Raises ``Unknown`` for a challenge that is not there, has ended or belongs to somebody else.
    A ``purpose`` of ``None`` is whatever it was issued for.
    """
    theirs = _of(challenge_id, purpose, user, session, creator)
    old = theirs.filter(state=Challenge.State.OPEN).first()
    if old is None or old.destination is None:
        raise Unknown
    return _send(
        Challenge(
            creator=old.creator,
            purpose=old.purpose,
            channel=old.channel,
            destination=old.destination,
            destination_digest=privacy.digest(old.destination),
            user_hash=old.user_hash,
            session_hash=old.session_hash,
            language=old.language,
        ),
        address,
    )


@sensitive_variables()
def verify(
    challenge_id: UUID,
    code: str,
    *,
    purpose: str | None,
    user: Any = None,
    session: str = "",
    creator: str = "",
) -> Result:
    """Whether this is the code. A right one is right once.

    A ``purpose`` of ``None`` is whatever it was issued for. Raises ``OpenTransaction``: a rollback
    would give the attempt back.
    """
    refuse_open_transaction()
    theirs = _of(challenge_id, purpose, user, session, creator).defer("destination")
    with telemetry.span("otp.verify") as told:
        result = _verify(theirs, code)
        told.tell(outcome=_word(result))
    telemetry.CODES_TRIED.add(result=_word(result))
    return result


def _word(result: Result) -> str:
    return str(result.reason or "verified")


@sensitive_variables()
def _verify(theirs: QuerySet[Challenge], code: str) -> Result:
    now = timezone.now()
    live = theirs.filter(state=Challenge.State.OPEN, expires_at__gt=now)
    counted = live.filter(attempts_left__gt=0).update(attempts_left=F("attempts_left") - 1)
    challenge = theirs.first()
    if not counted or challenge is None:
        codes.compare_in_vain(codes.fold(code))
        return Result(False, _why_not(challenge, now))
    if not codes.is_it(
        codes.fold(code), challenge.code_hash, salt=challenge.salt, challenge_id=challenge.pk
    ):
        return _wrong(challenge, now)
    recipient = challenge.destination or ""  # which its end erases
    # Live at the moment of the count; from here on only one may end it.
    mine = theirs.filter(state=Challenge.State.OPEN)
    if not mine.update(**_end(Challenge.State.VERIFIED, now)):
        return Result(False, Reason.NOT_FOUND)
    guard.note_verified(recipient)
    return Result(True, attempts_left=challenge.attempts_left)


def _wrong(challenge: Challenge, now: datetime) -> Result:
    if challenge.attempts_left == 0:
        _rows().filter(pk=challenge.pk, state=Challenge.State.OPEN, attempts_left=0).update(
            **_end(Challenge.State.USED_UP, now)
        )
        return Result(False, Reason.TOO_MANY_ATTEMPTS)
    return Result(False, Reason.WRONG, challenge.attempts_left)


def _why_not(challenge: Challenge | None, now: datetime) -> Reason:
    if challenge is None:
        return Reason.NOT_FOUND
    is_open = challenge.state == Challenge.State.OPEN
    if challenge.state == Challenge.State.USED_UP or (is_open and challenge.attempts_left == 0):
        return Reason.TOO_MANY_ATTEMPTS
    return Reason.EXPIRED if is_open and challenge.expires_at <= now else Reason.NOT_FOUND


def _of(
    challenge_id: UUID, purpose: str | None, user: Any, session: str, creator: str
) -> QuerySet[Challenge]:
    """The challenge, if it was issued for this purpose, to them, by this organisation."""
    theirs = _rows().filter(
        pk=challenge_id,
        creator=creator or settings.DEFAULT_CREATOR,
        user_hash__in=["", *_hashes_of_user(user)],
        session_hash__in=["", *_hashes_of_session(session)],
    )
    if purpose is None:
        return theirs
    # None is issued for any other, and a database may choke on it.
    return theirs.filter(purpose=purpose) if purpose.isprintable() else theirs.none()


def _rows() -> QuerySet[Challenge]:
    return Challenge.objects.using(primary())


def _end(state: Challenge.State, now: datetime) -> dict[str, Any]:
    return {"state": state, "ended_at": now, "destination": None}


def _hashes_of_user(user: Any) -> Sequence[str]:
    """How a user is known, under each key in force; blank for nobody."""
    key = None if user is None else user.pk
    return [""] if key is None else privacy.keyed_hashes("user of a code", str(key))


def _hashes_of_session(session: str) -> Sequence[str]:
    return privacy.keyed_hashes("session of a code", session) if session else [""]


def purpose_rule(value: object, name: str) -> str:
    written = rules.text(value, name, limit=PURPOSE_LENGTH)
    if not written.isprintable():
        raise rules.Broken(rules.UNSENDABLE, name=name)
    return written


def _wanted(recipient: str, purpose: str, channel: str) -> str:
    """The recipient as it is stored."""
    errors: dict[str, list[str]] = {}
    try:
        purpose_rule(purpose, "purpose")
    except rules.Broken as broken:
        errors["purpose"] = [str(broken)]
    if channel not in rules.RECIPIENT:
        raise InvalidMessage({**errors, "channel": [rules.CHANNEL]})
    try:
        wanted: str = rules.RECIPIENT[channel](recipient, "recipient")
        if channel == Channel.SMS:
            guard.require_country(wanted)
    except rules.Broken as broken:
        guard.count_costly(recipient)
        errors["recipient"] = [str(broken)]
    if errors:
        raise InvalidMessage(errors)
    return wanted


def _send(challenge: Challenge, address: str) -> Challenge:
    refuse_open_transaction()
    outcome = "interrupted"
    try:
        with telemetry.span("otp.send", channel=challenge.channel, creator=challenge.creator):
            _reserve_and_send(challenge, address)
        outcome = "sent"
    except NotificationError as error:
        outcome = type(error).__name__
        raise
    finally:
        telemetry.CODES_SENT.add(channel=challenge.channel, outcome=outcome)
    return challenge


def _reserve_and_send(challenge: Challenge, address: str) -> None:
    """What certainly did not leave is void."""
    code = codes.make()
    with guard.counted():
        toll = guard.admit_code(challenge.destination or "", address=address)
        _reserve(challenge, toll)
    try:
        _hand_over(challenge, code)
    except OutcomeUnknown:
        pass  # it may arrive, and then it is good
    except NotificationError:
        with suppress(InterfaceError, OperationalError):  # it is good for nobody anyhow
            _rows().filter(pk=challenge.pk).update(**_end(Challenge.State.NOT_SENT, timezone.now()))
        raise
    _make_good(challenge, code)
    guard.note_sent(challenge.destination or "")


def _make_good(challenge: Challenge, code: str) -> None:
    """From now on the code can be verified."""
    challenge.code_hash = codes.hashed(code, salt=challenge.salt, challenge_id=challenge.pk)
    try:
        _rows().filter(pk=challenge.pk).update(code_hash=challenge.code_hash)
    except (InterfaceError, OperationalError) as error:
        raise OutcomeUnknown(f"database: {type(error).__name__}", retry_after=1) from None


def _reserve(challenge: Challenge, toll: guard.Toll) -> None:
    """One short transaction; who wants to send to the same recipient or user meanwhile waits."""
    locks = Recipient.objects.using(primary())
    keys = {challenge.destination_digest, challenge.user_hash, challenge.session_hash} - {""}
    while True:
        for key in sorted(keys):
            locks.get_or_create(pk=key)
        with transaction.atomic(using=primary()):
            mine = locks.select_for_update().filter(pk__in=keys).order_by("pk")
            if len(mine) == len(keys):  # else one has just been purged
                return _reserve_alone(challenge, toll)


def _reserve_alone(challenge: Challenge, toll: guard.Toll) -> None:
    now = timezone.now()
    sends = _count_and_limit(challenge, now)
    challenge.pk, challenge.salt = uuid7(), codes.make_salt()
    challenge.attempts_left = settings.OTP_ATTEMPTS
    challenge.created_at, challenge.sends = now, sends
    challenge.expires_at = now + timedelta(seconds=settings.OTP_LIFETIME)
    challenge.resend_available_at = now + _pause_after(sends)
    _older(challenge).update(**_end(Challenge.State.REPLACED, now))
    challenge.save(using=primary(), force_insert=True)
    guard.take(toll)  # last: others wait for these rows until the commit


def _older(challenge: Challenge) -> QuerySet[Challenge]:
    """What a newer code replaces: of the same purpose, and the same recipient, user or session."""
    same = Q(destination_digest__in=privacy.digests(challenge.destination or ""))
    if challenge.user_hash:
        same |= Q(user_hash=challenge.user_hash)
    if challenge.session_hash:
        same |= Q(session_hash=challenge.session_hash)
    theirs = _rows().filter(creator=challenge.creator, purpose=challenge.purpose)
    return theirs.filter(same, state=Challenge.State.OPEN)


def _count_and_limit(challenge: Challenge, now: datetime) -> int:
    """How many codes in a row this one is; raises ``TooManyCodes`` if it is one too many."""
    digests = privacy.digests(challenge.destination or "")
    theirs = _rows().filter(destination_digest__in=digests, created_at__gt=now - DAY)
    times = sorted(theirs.values_list("created_at", flat=True))
    for name, most, span in (
        ("OTP_SENDS_PER_DAY", settings.OTP_SENDS_PER_DAY, DAY),
        ("OTP_SENDS_PER_HOUR", settings.OTP_SENDS_PER_HOUR, HOUR),
    ):
        within = [time for time in times if time > now - span]
        if len(within) >= most:
            raise TooManyCodes(name, _seconds_to(within[-most] + span, now))
    in_a_row = sum(time > now - HOUR for time in times)
    if in_a_row and (free_at := times[-1] + _pause_after(in_a_row)) > now:
        raise TooManyCodes("OTP_RESEND_PAUSE", _seconds_to(free_at, now))
    return in_a_row + 1


def _pause_after(sends: int) -> timedelta:
    """Twice as long after each."""
    return timedelta(seconds=settings.OTP_RESEND_PAUSE * 2 ** (sends - 1))


def _seconds_to(moment: datetime, now: datetime) -> int:
    return max(1, ceil((moment - now).total_seconds()))


def _hand_over(challenge: Challenge, code: str) -> None:
    channel = Channel(challenge.channel)
    text = text_of(code, channel=channel, purpose=challenge.purpose, language=challenge.language)
    left = int((challenge.expires_at - timezone.now()).total_seconds())
    message: dict[str, Any] = {
        "to": challenge.destination or "",
        "body": text.body,
        "time_to_live": max(left, rules.MIN_TIME_TO_LIVE),
        "creator": challenge.creator,
        "idempotency_id": challenge.idempotency_id,
        "secret": True,
    }
    if channel is Channel.EMAIL:
        orders.send_email(subject=text.subject, **message)
    else:
        orders.send_sms(**message)
