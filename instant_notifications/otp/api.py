"""One-time codes over HTTP: ask for one, verify it, ask for another.

Part of the API's routes, and answered in the same manner, wherever this app is installed. An
organisation reaches only what it has asked for itself. Who names the purpose when verifying has it
checked; else a code is good for whatever it was issued for.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from instant_notifications import guard, otp, rules
from instant_notifications.api.authentication import creator_of
from instant_notifications.api.problems import Problem, Refused
from instant_notifications.api.serializers import Member, Object, text_schema
from instant_notifications.api.views import ContractView
from instant_notifications.api.wire import json_time
from instant_notifications.otp.challenges import purpose_rule
from instant_notifications.otp.codes import LONGEST_WRITTEN
from instant_notifications.otp.models import PURPOSE_LENGTH, Challenge

LANGUAGE_LENGTH: Final = 35  # RFC 5646 §4.4.1

REFUSALS: Final[Mapping[otp.Reason, Problem]] = {
    otp.Reason.NOT_FOUND: Problem("NO_OTP_FOUND", 404, "There is no such code"),
    otp.Reason.EXPIRED: Problem("OTP_EXPIRED", 400, "The code has expired"),
    otp.Reason.TOO_MANY_ATTEMPTS: Problem("TOO_MANY_ATTEMPTS", 429, "Tried too often"),
    otp.Reason.WRONG: Problem("INVALID_OTP", 400, "This is not the code"),
}


def language(value: object, name: str) -> str:
    """Any: a code in another language is better than none."""
    return rules.text(value, name, limit=LANGUAGE_LENGTH)


def typed_code(value: object, name: str) -> str:
    return rules.text(value, name, limit=LONGEST_WRITTEN, allowed="\t\n\r")


class Recipient(Member):
    """A number or an address, as the channel beside it says."""

    def checked(self, data: Any) -> Any:
        beside = str(self.parent.initial_data.get("channel")).lower()
        return rules.RECIPIENT.get(beside, self.rule)(data, str(self.field_name))


class ChallengeRequest(Object):
    purpose = Member(purpose_rule, text_schema(PURPOSE_LENGTH))
    channel = Member(
        rules.one_of(rules.RECIPIENT, rules.CHANNEL),
        {"type": "string", "enum": list(rules.RECIPIENT)},
    )
    recipient = Recipient(rules.text, text_schema())
    language = Member(language, text_schema(LANGUAGE_LENGTH), blank_means="")


class VerificationRequest(Object):
    code = Member(typed_code, text_schema(LONGEST_WRITTEN))
    purpose = Member(purpose_rule, text_schema(PURPOSE_LENGTH), blank_means="")


class ResendRequest(Object):
    purpose = Member(purpose_rule, text_schema(PURPOSE_LENGTH), blank_means="")


# What is in a request is personal, or a code: no report of an error may quote it.
unquoted = method_decorator(sensitive_variables())


class ChallengesView(ContractView):
    """Send a one-time code."""

    @unquoted
    def post(self, request: Request) -> Response:
        wanted = ChallengeRequest(data=request.data).members()
        guard.admit_send(creator_of(request), unless=_never)
        return _made(otp.issue(**wanted, creator=creator_of(request)))


class VerificationView(ContractView):
    """Say whether somebody has the code. The body is looked at first, whosever the id is."""

    @unquoted
    def post(self, request: Request, challenge_id: str) -> Response:
        asked = VerificationRequest(data=request.data).members()
        result = otp.verify(
            _id_of(challenge_id),
            asked["code"],
            purpose=asked["purpose"] or None,
            creator=creator_of(request),
        )
        if not result.verified:
            raise Refused(REFUSALS[result.reason], attemptsLeft=result.attempts_left)
        return Response({"verified": True})


class ResendView(ContractView):
    """Send a new code to the same recipient; the old one is void."""

    @unquoted
    def post(self, request: Request, challenge_id: str) -> Response:
        asked = ResendRequest(data=request.data or {}).members()
        guard.admit_send(creator_of(request), unless=_never)
        try:
            challenge = otp.resend(
                _id_of(challenge_id), purpose=asked["purpose"] or None, creator=creator_of(request)
            )
        except otp.Unknown:
            raise Refused(REFUSALS[otp.Reason.NOT_FOUND], attemptsLeft=0) from None
        return _made(challenge)


def _never() -> bool:
    return False


def _id_of(written: str) -> UUID:
    """What is no id at all is looked for like any other: as the nil UUID, which nobody has."""
    try:
        return UUID(written)
    except ValueError:
        return UUID(int=0)


def _made(challenge: Challenge) -> Response:
    body = {
        "challengeId": str(challenge.pk),
        "expiresAt": json_time(challenge.expires_at),
        "resendAvailableAt": json_time(challenge.resend_available_at),
        "attemptsLeft": challenge.attempts_left,
        "destination": challenge.masked_destination,
    }
    return Response(body, status=201)


urlpatterns = [
    path("challenges", ChallengesView.as_view(), name="otp-challenges"),
    path("challenges/<str:challenge_id>/verify", VerificationView.as_view(), name="otp-verify"),
    path("challenges/<str:challenge_id>/resend", ResendView.as_view(), name="otp-resend"),
]
