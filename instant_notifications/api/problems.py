"""Every error answer: ``application/problem+json``, from one table."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest
from rest_framework import exceptions as drf
from rest_framework.response import Response

from instant_notifications import privacy
from instant_notifications.exceptions import (
    Blocked,
    ContentMismatch,
    HandoverFailed,
    InvalidMessage,
    MissingContact,
    NotConfigured,
    NotFound,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    TooLate,
    TooManyRequests,
    Unavailable,
)

logger = logging.getLogger("instant_notifications.api")

CONTENT_TYPE: Final = "application/problem+json"
VALIDATION_TITLE: Final = "One or more validation errors occurred."

RFC9110: Final = "https://tools.ietf.org/html/rfc9110#section-"
TYPES: Final[Mapping[int, str]] = {
    400: f"{RFC9110}15.5.1",
    401: f"{RFC9110}15.5.2",
    403: f"{RFC9110}15.5.4",
    404: f"{RFC9110}15.5.5",
    405: f"{RFC9110}15.5.6",
    406: f"{RFC9110}15.5.7",
    409: f"{RFC9110}15.5.10",
    413: f"{RFC9110}15.5.14",
    415: f"{RFC9110}15.5.16",
    422: f"{RFC9110}15.5.21",
    429: "https://tools.ietf.org/html/rfc6585#section-4",
    500: f"{RFC9110}15.6.1",
    503: f"{RFC9110}15.6.4",
    504: f"{RFC9110}15.6.5",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the contract's table of problem codes."""

    code: str
    status: int
    title: str
    retry_after: int | None = None


NOT_FOUND: Final = Problem("NOT-00003", 404, "Shipment not found")
NOT_SENT: Final = Problem("NOT-00004", 503, "A temporary network failure occurred", retry_after=5)

BY_EXCEPTION: Final[Mapping[type[Exception], Problem]] = {
    MissingContact: Problem("NOT-00001", 422, "Missing contact information for recipient(s)"),
    NotFound: NOT_FOUND,
    Rejected: Problem("IN-00001", 422, "The gateway refused the message"),
    Unavailable: NOT_SENT,
    NotConfigured: NOT_SENT,
    InterfaceError: NOT_SENT,
    OperationalError: NOT_SENT,
    StillUnderWay: Problem(
        "IN-00002", 409, "A request with this id is still being handed over", retry_after=1
    ),
    OutcomeUnknown: Problem(
        "IN-00003", 504, "The outcome of the hand-over is unknown", retry_after=30
    ),
    ContentMismatch: Problem("IN-00004", 422, "The id was used with other content"),
    TooManyRequests: Problem("IN-00005", 429, "Too many requests"),
    Blocked: Problem("IN-00006", 403, "No code is sent to this recipient"),
    TooLate: Problem("IN-00007", 409, "Everything is already under way"),
}


class Refused(Exception):  # noqa: N818
    """The request is answered with this problem, and with these members besides."""

    def __init__(self, problem: Problem, **members: Any) -> None:
        self.problem, self.members = problem, members
        super().__init__(problem.code)


class InvalidRequest(Exception):  # noqa: N818
    """The request breaks the contract; ``errors`` holds the messages by JSON path."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = errors
        super().__init__(", ".join(errors))


class TooLarge(drf.APIException):
    status_code = 413
    default_detail = "The request body is too large."


def answer_exception(exception: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler for our views: no exception leaves without a problem document."""
    request = context["request"]
    trace_id = trace_id_of(request)
    if isinstance(exception, InvalidRequest | InvalidMessage):
        return _answer(400, VALIDATION_TITLE, trace_id, errors=exception.errors)
    if isinstance(exception, Refused):
        return _answer_problem(exception.problem, trace_id, **exception.members)
    problem = next(
        (BY_EXCEPTION[kind] for kind in type(exception).__mro__ if kind in BY_EXCEPTION), None
    )
    if problem is not None:
        return _answer_failure(problem, exception, trace_id)
    if isinstance(exception, drf.APIException | Http404 | PermissionDenied | SuspiciousOperation):
        return _answer_http_error(exception, trace_id)
    got_request_exception.send(sender=None, request=request._request)
    logger.error("unexpected trace_id=%s error=%s", trace_id, privacy.place_of(exception))
    return _answer(500, "An unexpected error occurred.", trace_id)


def _answer_failure(problem: Problem, exception: Exception, trace_id: str) -> Response:
    if isinstance(exception, NotConfigured):
        logger.error("not configured trace_id=%s reason=%s", trace_id, exception)
    if isinstance(exception, InterfaceError | OperationalError):
        logger.error("database away trace_id=%s error=%s", trace_id, privacy.place_of(exception))
    members: dict[str, Any] = {}
    retry_after = problem.retry_after
    if isinstance(exception, HandoverFailed):
        retry_after = exception.retry_after or retry_after
        if exception.shipment_id:
            members["shipmentId"] = str(exception.shipment_id)
    if isinstance(exception, TooManyRequests):
        retry_after, members["limit"] = exception.retry_after, exception.limit
    return _answer_problem(problem, trace_id, retry_after, **members)


def _answer_problem(
    problem: Problem, trace_id: str, retry_after: int | None = None, **members: Any
) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    # Readers of the original service look for the text in `detail`.
    members = {"code": problem.code, "detail": problem.title, **members}
    return _answer(problem.status, problem.title, trace_id, headers=headers, **members)


def _answer_http_error(exception: Exception, trace_id: str) -> Response:
    """What DRF and Django raise by themselves. Their texts never repeat a value of ours."""
    if isinstance(exception, Http404):
        exception = drf.NotFound()
    elif isinstance(exception, PermissionDenied):
        exception = drf.PermissionDenied()
    elif isinstance(exception, SuspiciousOperation):
        exception = drf.ParseError()
    assert isinstance(exception, drf.APIException)  # noqa: S101 (for the type checker)
    headers = {}
    if challenge := getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    status = exception.status_code
    detail = str(exception.detail) if isinstance(exception.detail, str) else None
    members = {} if detail is None else {"detail": detail}
    return _answer(status, HTTPStatus(status).phrase, trace_id, headers=headers, **members)


def _answer(
    status: int,
    title: str,
    trace_id: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    body = {"type": TYPES.get(status, "about:blank"), "title": title, "status": status}
    response = Response({**body, **members, "traceId": trace_id}, status=status)
    response.content_type = CONTENT_TYPE
    for name, value in (headers or {}).items():
        response[name] = value
    return response


_traceparent = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


def trace_id_of(request: HttpRequest) -> str:
    """The caller's W3C trace id, or a new one."""
    given = _traceparent(request.META.get("HTTP_TRACEPARENT", ""))
    return given[1] if given else uuid4().hex
