"""What the OpenAPI document says about one-time codes, where drf-spectacular is installed."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from instant_notifications.api.openapi import (
    BODY_ANSWERS,
    CHALLENGE,
    COMMON_ANSWERS,
    INVALID,
    Answers,
    ProblemAnswer,
    extend,
    header,
    id_in_path,
    problem,
)
from instant_notifications.otp import api

TAGS: Final = ["One-time codes"]


class ChallengeAnswer(serializers.Serializer[Any]):
    challengeId = serializers.UUIDField()  # noqa: N815
    expiresAt = serializers.DateTimeField()  # noqa: N815
    resendAvailableAt = serializers.DateTimeField()  # noqa: N815
    attemptsLeft = serializers.IntegerField()  # noqa: N815
    destination = serializers.CharField()


class VerifiedAnswer(serializers.Serializer[Any]):
    verified = serializers.BooleanField()


class CodeProblemAnswer(ProblemAnswer):
    attemptsLeft = serializers.IntegerField(required=False)  # noqa: N815


NOT_YOURS: Final = problem(404, "`NO_OTP_FOUND`: none of yours, or at its end.", CodeProblemAnswer)
SENT_ANSWERS: Final[Answers] = {
    201: OpenApiResponse(ChallengeAnswer, "A code was sent, or may have been."),
    **INVALID,
    **COMMON_ANSWERS,
    **problem(403, "As elsewhere; or `IN-00006`: the recipient is kept out."),
    **problem(422, "`IN-00001`: refused for good. No code was sent."),
    **problem(429, "`IN-00005`: not yet another code; `limit` says why."),
    **problem(503, "`NOT-00004`: certainly not sent."),
    **problem(504, "`IN-00003`: one may have been sent, but it is void."),
}
VERIFIED_ANSWERS: Final[Answers] = {
    200: OpenApiResponse(VerifiedAnswer, "It is the code. It is used up now."),
    **COMMON_ANSWERS,
    **BODY_ANSWERS,
    **NOT_YOURS,
    **problem(
        400, "`INVALID_OTP`, `OTP_EXPIRED`, or the request breaks a rule.", CodeProblemAnswer
    ),
    **problem(429, "`TOO_MANY_ATTEMPTS`: it is void.", CodeProblemAnswer),
}
CHALLENGE_ID: Final = id_in_path("challenge_id")
RETRY_AFTER: Final = header("Retry-After", "Seconds to wait before asking again.", 429, 503, 504)


def describe() -> None:
    """Add to each operation what its code does not say."""
    extend(
        api.ChallengesView,
        "post",
        operation_id="sendCode",
        summary="Send a one-time code",
        tags=TAGS,
        request=api.ChallengeRequest,
        parameters=[RETRY_AFTER, CHALLENGE],
        responses={**SENT_ANSWERS, **BODY_ANSWERS},
        examples=[
            OpenApiExample(
                "Challenge",
                value={"purpose": "login", "channel": "sms", "recipient": "+4799999999"},
                request_only=True,
            )
        ],
    )
    extend(
        api.VerificationView,
        "post",
        operation_id="verifyCode",
        summary="Verify a one-time code",
        tags=TAGS,
        request=api.VerificationRequest,
        parameters=[CHALLENGE_ID, CHALLENGE],
        responses=VERIFIED_ANSWERS,
        examples=[OpenApiExample("Code", value={"code": "000000"}, request_only=True)],
    )
    extend(
        api.ResendView,
        "post",
        operation_id="resendCode",
        summary="Send a new one-time code; the old one is void",
        tags=TAGS,
        request=api.ResendRequest,
        parameters=[CHALLENGE_ID, RETRY_AFTER, CHALLENGE],
        responses={**SENT_ANSWERS, **BODY_ANSWERS, **NOT_YOURS},
    )
