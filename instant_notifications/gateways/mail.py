"""E-mail by Django's mail framework: SMTP, or whatever backend the host has configured.

Over SMTP the dialogue tells exactly how far the message came, so its outcome is sorted with care:
until DATA nothing has left, and a reply is a clear yes or no; a connection that breaks after DATA
leaves the outcome unknown.
"""

import re
import smtplib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parseaddr
from time import monotonic
from typing import Any, Final

from django.conf import settings as django_settings
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend

from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways.base import BaseGateway, Message, Receipt
from instant_notifications.gateways.plain_text import plain_text
from instant_notifications.statuses import Channel

_OUR_CONFIGURATION: Final = frozenset({500, 502, 503, 504, 530, 534, 535, 538})
"""Replies about the session, not about this message."""

_REFUSALS: Final[Mapping[str, str]] = {
    "5.1.3": "Email_Failed_InvalidFormat",
    "5.1.": "Email_Failed_Bounced",
    "5.2.": "Email_Failed_Bounced",
    "5.7.": "Email_Failed_FilteredSpam",
    "501": "Email_Failed_InvalidFormat",
    "553": "Email_Failed_InvalidFormat",
    "550": "Email_Failed_Bounced",
    "551": "Email_Failed_Bounced",
}
"""Our word for a refused recipient or text: by enhanced status (RFC 3463), then by reply code."""


class MailGateway(BaseGateway):
    """``OPTIONS``: ``mailer``, an alias of ``MAILERS`` on Django 6.1 and later."""

    channels = frozenset({Channel.EMAIL})
    reports_receipts = False

    def __init__(self, alias: str, *, mailer: str = "default", **options: Any) -> None:
        super().__init__(alias, **options)
        self.mailer = mailer

    def send(self, message: Message) -> Receipt:
        backend = _open_mailer(self.mailer)
        email = _compose(message)
        if isinstance(backend, SmtpBackend):
            _send_by_smtp(backend, email, message.timeout)
        else:
            _send_by_other(backend, email)
        return Receipt(gateway_reference=email.extra_headers["Message-ID"])


def _open_mailer(alias: str) -> BaseEmailBackend:
    """What replaces ``get_connection()`` from Django 6.1 on, and that itself before."""
    mailers = getattr(mail, "mailers", None)
    backend: BaseEmailBackend = mail.get_connection() if mailers is None else mailers[alias]
    return backend


def _compose(message: Message) -> mail.EmailMultiAlternatives:
    sender = message.sender or django_settings.DEFAULT_FROM_EMAIL
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    is_html = message.content_type == "Html"
    email = mail.EmailMultiAlternatives(
        subject=message.subject,
        body=plain_text(message.body) if is_html else message.body,
        from_email=sender,
        to=[message.destination],
        headers={
            "Message-ID": f"<{message.reference}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    if is_html:
        email.attach_alternative(message.body, "text/html")
    return email


def _send_by_other(backend: BaseEmailBackend, email: mail.EmailMultiAlternatives) -> None:
    try:
        sent = backend.send_messages([email])
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise Unavailable(type(error).__name__) from None
    if sent == 0:
        raise Unavailable("the mail backend sent nothing")


def _send_by_smtp(backend: SmtpBackend, email: mail.EmailMultiAlternatives, timeout: float) -> None:
    if not email.to[0].rpartition("@")[0].isascii():
        raise Rejected("SMTPUTF8 is not supported", status="Email_Failed_InvalidFormat")
    with _hung_up_after(backend, timeout) as deadline:
        dialogue = _Dialogue(_connect(backend, timeout), deadline)
        try:
            backend.send_messages([email])
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise dialogue.meaning_of(error) from None
        finally:
            backend.close()


@contextmanager
def _hung_up_after(backend: SmtpBackend, seconds: float) -> Iterator[float]:
    """Breaks the connection at the deadline.

    A socket's time-out bounds each wait, not their sum, and not a server that dribbles.
    """

    def hang_up() -> None:
        connection = backend.connection or getattr(backend, "_partial_connection", None)
        if connection is not None and connection.sock is not None:
            with suppress(OSError):  # it may have ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield monotonic() + seconds
    finally:
        timer.cancel()


def _connect(backend: SmtpBackend, timeout: float) -> smtplib.SMTP:
    """Connect and log on. Nothing of the message has been said, so every failure is safe."""
    backend.timeout = timeout / 2  # for the connection and again for the greeting
    backend.fail_silently = False
    try:
        backend.open()
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(_reply(error)) from None
    if backend.connection is None:
        raise Unavailable("no connection")
    return backend.connection


class _Dialogue:
    """Notices when DATA begins, the moment from which on silence is ambiguous."""

    def __init__(self, connection: smtplib.SMTP, deadline: float) -> None:
        self._data = connection.data
        self._data_begun = False
        if connection.sock is not None:
            connection.sock.settimeout(max(0.001, deadline - monotonic()))
        connection.data = self._begin_data  # type: ignore[method-assign,assignment]

    def _begin_data(self, content: Any) -> Any:
        self._data_begun = True
        return self._data(content)

    def meaning_of(self, error: Exception) -> Exception:
        code = _code(error)
        if code is None and isinstance(error, ValueError):
            return Rejected(type(error).__name__, status="Email_Failed_InvalidFormat")
        if code is None:
            return (OutcomeUnknown if self._data_begun else Unavailable)(_reply(error))
        if code < 500 or code in _OUR_CONFIGURATION:
            return Unavailable(_reply(error))
        return Rejected(_reply(error), status=_refusal(_reply(error)))


def _answer(error: Exception) -> tuple[int, str] | None:
    """The server's reply behind an error, if it gave one."""
    text: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, text = error.smtp_code, error.smtp_error
    else:
        return None
    return code, text.decode(errors="replace") if isinstance(text, bytes) else text


def _code(error: Exception) -> int | None:
    answer = _answer(error)
    return answer[0] if answer and answer[0] > 0 else None


def _reply(error: Exception) -> str:
    """Reply code and enhanced status, e.g. ``550 5.1.1``; never the text, which names people."""
    answer = _answer(error)
    if answer is None:
        return type(error).__name__
    enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}", answer[1])
    return f"{answer[0]} {enhanced[0]}" if enhanced else str(answer[0])


def _refusal(reply: str) -> str:
    code, _, enhanced = reply.partition(" ")
    for key, word in _REFUSALS.items():
        if key == code if "." not in key else enhanced.startswith(key):
            return word
    return "Email_Failed"
