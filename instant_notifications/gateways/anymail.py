"""E-mail by any provider that django-anymail speaks to, and what becomes of it: both directions.

Anymail knows the providers; this file sorts what it says into our outcomes, holds it to the time,
and reads its tracking events as receipts.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import requests
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.mail import EmailMultiAlternatives
from django.urls import URLPattern, URLResolver, get_resolver
from urllib3.exceptions import NewConnectionError

from instant_notifications import http
from instant_notifications.conf import settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import gateway_class, gateways
from instant_notifications.gateways.base import Message, Receipt
from instant_notifications.gateways.mail import (
    MailGateway,
    compose,
    open_mailer,
    require_sound_headers,
    within,
)

try:
    from anymail import exceptions as anymail
    from anymail.backends.base import AnymailBaseBackend
    from anymail.backends.base_requests import AnymailRequestsBackend
    from anymail.signals import inbound
    from anymail.utils import parse_single_address
except ModuleNotFoundError:
    raise NotConfigured(
        'anymail is missing: pip install "django-instant-notifications[anymail]"'
    ) from None

_GATEWAY: Final = "notification_gateway"
_REFERENCE: Final = "notification_id"
"""Names in the metadata that most providers repeat in each event; Postmark takes 20 characters."""

_CANNOT_CARRY: Final[Mapping[str, frozenset[str]]] = {
    "MailerSend": frozenset({"metadata", "extra_headers"}),
    "Postal": frozenset({"metadata"}),
}
"""What anymail, or the provider's usual contract, has no place for."""

_TAKEN: Final = frozenset({"sent", "queued"})

_REFUSALS: Final[Mapping[str, str]] = {
    "invalid": "Email_Failed_InvalidFormat",
    "rejected": "Email_Failed_SuppressedRecipient",
}
"""Our word for a recipient status that is final."""

_NOT_WITH_US: Final = frozenset({401, 402, 403, 404, 405, 429, 503})
"""HTTP statuses about our account, our settings or the provider: no message would be taken now."""

_NOT_THIS_ONE: Final = frozenset({400, 413, 422})
"""The request was refused as it stands. It may be the recipient, but a sender that the provider has
not verified gets the same answer: nobody may call that final."""

_REFUSED_BY_ANYMAIL: Final[Mapping[type[Exception], Callable[[str], HandoverFailed]]] = {
    anymail.AnymailInvalidAddress: partial(Rejected, status="Email_Failed_InvalidFormat"),
    anymail.AnymailUnsupportedFeature: Unavailable,
    anymail.AnymailSerializationError: Unavailable,
    anymail.AnymailConfigurationError: Unavailable,
}
"""What is raised before there is a request. Another gateway may do better."""

_NEVER_A_REQUEST: Final = (
    requests.ConnectTimeout,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)

_NEVER_CONNECTED: Final = (NewConnectionError, ssl.SSLCertVerificationError)

_EVENTS: Final[Mapping[str, str | None]] = {
    "queued": "Email_Succeeded",
    "sent": "Email_Succeeded",
    "delivered": "Email_Delivered",
    "bounced": "Email_Failed_Bounced",
    "rejected": "Email_Failed",
    "failed": "Email_Failed",
    "deferred": None,
    "complained": None,
}
"""Our word for each event about delivery; ``None`` is noted and moves nothing."""

_REJECTIONS: Final[Mapping[str, str]] = {
    "invalid": "Email_Failed_InvalidFormat",
    "bounced": "Email_Failed_Bounced",
    "timed_out": "Email_Failed_TransientError",
    "blocked": "Email_Failed_SuppressedRecipient",
    "unsubscribed": "Email_Failed_SuppressedRecipient",
    "spam": "Email_Failed_FilteredSpam",
}
"""Our word for the reason of a ``rejected`` event."""


class AnymailGateway(MailGateway):
    """``OPTIONS``: ``mailer``, as for ``MailGateway``, and ``tracking``.

    ``tracking`` says that the provider calls anymail's webhook with what becomes of a message.
    Where it does not, set it to ``False``: acceptance is the last word then.
    """

    def __init__(self, alias: str, *, tracking: bool = True, **options: Any) -> None:
        super().__init__(alias, **options)
        self.reports_receipts = tracking

    def send(self, message: Message) -> Receipt:
        backend = self._backend()
        email = self._compose_for(backend, message)
        failure = _hand_to_anymail(backend, email, message.timeout)
        # What the provider has said counts, whatever a receiver of post_send did afterwards.
        answer = _answer_about(email.to[0], email)
        if answer is None:
            raise failure
        return _outcome(answer)

    def check(self) -> Iterator[CheckMessage]:
        backend = open_mailer(self.mailer)
        if not isinstance(backend, AnymailBaseBackend):
            yield self._error(
                "does not send by anymail.",
                "Let Django's e-mail settings name a backend of anymail's, or use MailGateway.",
            )
            return
        if not {"to", "cc", "bcc"}.isdisjoint(backend.send_defaults):
            yield self._error(
                "would send each message to others, too.",
                "Take to, cc and bcc out of anymail's SEND_DEFAULTS.",
            )
        if self.reports_receipts and not apps.is_installed("anymail"):
            yield self._error("cannot hear of its messages.", 'Add "anymail" to INSTALLED_APPS.')
        if self.reports_receipts and not _is_tracked(backend.esp_name):
            yield self._error(
                f"has no route for the tracking events of {backend.esp_name}, so that each message "
                "would end as expired.",
                'Add path("anymail/", include("anymail.urls")) to the URLconf, or set the option '
                '"tracking" to False.',
            )

    def is_sender_of(self, event: Any, esp_name: str) -> bool:
        """Whether this event may be about a message of this gateway's.

        The metadata says it; where the provider does not repeat it, any gateway that sends by the
        same provider may be meant.
        """
        named = _metadata(event).get(_GATEWAY, self.alias)
        mine = self.reports_receipts and named == self.alias
        return bool(mine and self._backend().esp_name == esp_name)

    def _backend(self) -> Any:
        backend = open_mailer(self.mailer)
        if not isinstance(backend, AnymailBaseBackend):
            raise NotConfigured("The mail backend is none of anymail's.")
        return backend

    def _compose_for(self, backend: Any, message: Message) -> EmailMultiAlternatives:
        email = compose(message)
        require_sound_headers(email)
        _require_one_address(email.to[0])
        del email.extra_headers["Message-ID"]  # the provider gives it one
        without = _CANNOT_CARRY.get(backend.esp_name, frozenset())
        if "extra_headers" in without:
            email.extra_headers.clear()
        if "metadata" not in without:
            said = {_GATEWAY: self.alias, _REFERENCE: message.reference}
            email.metadata = said  # type: ignore[attr-defined]  # anymail reads it
        return email

    def _error(self, problem: str, hint: str) -> CheckMessage:
        return Error(
            f"Gateway {self.alias!r} {problem}", hint=hint, id="instant_notifications.E010"
        )


def receipt_from(event: Any) -> Receipt | None:
    """What an ``AnymailTrackingEvent`` says of delivery; ``None`` if it is about something else.

    Opened, clicked and the like tell about people, not about delivery.
    """
    kind, reason = event.event_type, event.reject_reason
    if kind not in _EVENTS:
        return None
    status = _EVENTS[kind]
    return Receipt(
        gateway_reference=str(event.message_id or ""),
        reference=str(_metadata(event).get(_REFERENCE, "")),
        status=_REJECTIONS.get(reason, status) if kind == "rejected" else status,
        word=" ".join(dict.fromkeys(filter(None, (kind, reason)))),
    )


def senders_of(event: Any, esp_name: str) -> Iterator[str]:
    """The aliases of the gateways that an event may be about."""
    for alias in filter(_is_anymail, settings.GATEWAYS):
        gateway = gateways[alias]
        if isinstance(gateway, AnymailGateway) and gateway.is_sender_of(event, esp_name):
            yield alias


def _is_anymail(alias: str) -> bool:
    try:
        return issubclass(gateway_class(alias, settings.GATEWAYS[alias]), AnymailGateway)
    except NotConfigured:
        return False  # the system checks tell; it must not hold up the others


def _metadata(event: Any) -> Mapping[str, Any]:
    return event.metadata if isinstance(event.metadata, Mapping) else {}


def _is_tracked(esp_name: str) -> bool:
    """Whether the host's URLconf has a view for this provider's events."""
    has_urls = getattr(django_settings, "ROOT_URLCONF", None)
    return bool(has_urls) and any(
        getattr(view, "esp_name", None) == esp_name and view.signal is not inbound
        for view in _views(get_resolver().url_patterns)
    )


def _views(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        else:
            yield getattr(pattern.callback, "view_class", None)


def _require_one_address(destination: str) -> None:
    """Anymail would send to each of several."""
    try:
        parse_single_address(destination)
    except anymail.AnymailInvalidAddress as error:
        raise Rejected(type(error).__name__, status="Email_Failed_InvalidFormat") from None


def _hand_to_anymail(backend: Any, email: EmailMultiAlternatives, timeout: float) -> HandoverFailed:
    """Send it; returns what to make of it if the provider has said nothing about the recipient."""
    try:
        sent = within(timeout, partial(_send, backend, email, timeout), afterwards=backend.close)
    except TimeoutError:
        return OutcomeUnknown("no answer in time")
    except Exception as error:  # noqa: BLE001 (closed by default)
        return _meaning_of(error)
    if not sent:  # only a receiver of pre_send makes anymail return without either
        return Rejected("cancelled by pre_send", status="Email_Failed")
    return OutcomeUnknown("no status")


def _send(backend: Any, email: EmailMultiAlternatives, timeout: float) -> int:
    backend.fail_silently = False
    if isinstance(backend, AnymailRequestsBackend):
        # Well before the deadline, it is still known that nothing has left.
        backend.timeout = (min(timeout / 2, http.LONGEST_CONNECT), timeout)
        backend.open()
        backend.session.max_redirects = 0  # the first server may have taken it
    return int(backend.send_messages([email]))


def _answer_about(address: str, email: EmailMultiAlternatives) -> Any:
    """What the provider said of this recipient, however it spells it; ``None`` if nothing."""
    status = getattr(email, "anymail_status", None)
    recipients = status.recipients if status else {}
    answers = {spelt.casefold(): answer for spelt, answer in recipients.items()}
    return answers.get(address.casefold())


def _outcome(answer: Any) -> Receipt:
    has_reference = answer.message_id is not None
    if answer.status in _TAKEN or (answer.status == "unknown" and has_reference):
        reference = str(answer.message_id) if has_reference else ""
        return Receipt(gateway_reference=reference, word=answer.status)
    if answer.status in _REFUSALS:
        raise Rejected(answer.status, status=_REFUSALS[answer.status])
    if answer.status == "failed":  # not sent, and not said whose fault it is
        raise Unavailable("failed", only_this_message=True)
    raise OutcomeUnknown(str(answer.status))


def _meaning_of(error: Exception) -> HandoverFailed:
    reason = type(error).__name__
    if isinstance(error, anymail.AnymailAPIError):
        status = _http_status(error)
        return _meaning_of_answer(error, status) if status else _meaning_of_silence(error)
    for kind, failure in _REFUSED_BY_ANYMAIL.items():
        if isinstance(error, kind):
            return failure(reason)
    return OutcomeUnknown(reason)


def _http_status(error: Any) -> int | None:
    """Of the answer, if there was one."""
    status: object = error.status_code
    if isinstance(error.response, Mapping):  # as Amazon's client has it
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _meaning_of_answer(error: Any, status: int) -> HandoverFailed:
    if status in _NOT_THIS_ONE:
        return Unavailable(str(status), only_this_message=True)
    if status in _NOT_WITH_US:
        headers = getattr(error.response, "headers", {})
        retry_after = http.Answer(status, headers, b"").retry_after
        return Unavailable(str(status), retry_after=retry_after)
    return OutcomeUnknown(str(status))


def _meaning_of_silence(error: Exception) -> HandoverFailed:
    causes = list(_causes(error))
    reason = type(causes[-1]).__name__
    if isinstance(error, _NEVER_A_REQUEST) or any(isinstance(e, _NEVER_CONNECTED) for e in causes):
        return Unavailable(reason)
    return OutcomeUnknown(reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those it wraps: anymail's, that of requests, of urllib3, of the socket."""
    wrapped: object = error
    while isinstance(wrapped, BaseException):
        yield wrapped
        first = wrapped.args[0] if wrapped.args else None
        wrapped = wrapped.__cause__ or getattr(first, "reason", first)
