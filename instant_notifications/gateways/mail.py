"""E-mail by Django's mail framework: SMTP, or whatever backend the host has configured.

Over SMTP the dialogue tells exactly how far the message came, so its outcome is sorted with care:
until DATA nothing has left, and a reply is a clear yes or no; a connection that breaks after DATA
leaves the outcome unknown.
"""

import re
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from email.utils import formataddr, parseaddr
from functools import partial
from typing import Any, Final, TypeVar

import idna
from django.conf import settings as django_settings
from django.core import mail
from django.core.checks import CheckMessage, Warning  # noqa: A004
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import connections

from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.base import BaseGateway, Message, Receipt
from instant_notifications.gateways.plain_text import plain_text
from instant_notifications.statuses import Channel

T = TypeVar("T")

_NOT_NOW: Final = 400
_CLOSING: Final = 421
_REFUSED: Final = 500

_ABOUT_THE_SESSION: Final = frozenset({500, 502, 503, 504, 530, 534, 535, 538})
"""Replies that find fault with us, not with this message."""

_CLEAR_ANSWERS: Final = (
    smtplib.SMTPSenderRefused,
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPDataError,
)
"""The server said no. Other errors are silence, or an answer that nobody understands."""

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
        backend = open_mailer(self.mailer)
        email = compose(message)
        if isinstance(backend, SmtpBackend):
            _Dialogue(backend, email).hold(message.timeout)
        else:
            _send_by_other(backend, email)
        return Receipt(gateway_reference=email.extra_headers["Message-ID"])

    def check(self) -> Iterator[CheckMessage]:
        """Anymail hears more of a message than this class would ever ask it for."""
        kinds = type(open_mailer(self.mailer)).__mro__
        if any(kind.__module__.startswith("anymail.") for kind in kinds):
            yield Warning(
                f"Gateway {self.alias!r} sends by anymail, but hears nothing of its receipts.",
                hint="Use instant_notifications.gateways.anymail.AnymailGateway.",
                id="instant_notifications.W009",
            )

    def probe(self, timeout: float) -> None:
        """Connect and log on, as for a message; over SMTP, say hello as well."""
        backend = open_mailer(self.mailer)
        if isinstance(backend, SmtpBackend):
            _hold_its_waits(backend, timeout)
        try:
            within(timeout, partial(_knock, backend), afterwards=backend.close)
        except TimeoutError:
            _hang_up_on(backend)
            raise Unavailable("no answer in time") from None
        except Exception as error:  # noqa: BLE001 (whatever it is, nobody could send now)
            raise _why_it_stays_shut(error) from None


def within(timeout: float, work: Callable[[], T], *, afterwards: Callable[[], None]) -> T:
    """What ``work`` returns or raises; ``TimeoutError`` if it takes longer.

    A thread cannot be stopped: at the deadline the work goes on, unheard. ``afterwards`` runs when
    it has ended, and nobody waits for that.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 (for the one who waits to sort)
            outcome.set_exception(error)
        with suppress(Exception):  # a farewell that goes wrong changes nothing
            afterwards()
        connections.close_all()  # this thread's: a host's receivers may have used the database

    threading.Thread(target=run, name="mail-backend", daemon=True).start()
    return outcome.result(timeout)


def _knock(backend: BaseEmailBackend) -> None:
    backend.open()
    if isinstance(backend, SmtpBackend) and backend.connection is not None:
        backend.connection.ehlo_or_helo_if_needed()


def _why_it_stays_shut(error: Exception) -> NotConfigured | Unavailable:
    reply = _reply(error)
    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= _REFUSED:
        return NotConfigured(
            f"The mail server refuses the log-on ({reply}): set user and password."
        )
    return Unavailable(reply)


def open_mailer(alias: str) -> BaseEmailBackend:
    """What replaces ``get_connection()`` from Django 6.1 on, and that itself before."""
    mailers = getattr(mail, "mailers", None)
    try:
        backend: BaseEmailBackend = mail.get_connection() if mailers is None else mailers[alias]
    except Exception as error:
        raise NotConfigured(f"The mail backend cannot be made ({type(error).__name__}).") from error
    return backend


def compose(message: Message) -> mail.EmailMultiAlternatives:
    sender = _sender_in_ascii(message.sender or django_settings.DEFAULT_FROM_EMAIL)
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    is_html = message.content_type == "Html"
    email = mail.EmailMultiAlternatives(
        subject=message.subject,
        body=plain_text(message.body) if is_html else message.body,
        from_email=sender,
        to=[_in_ascii(message.destination)],
        headers={
            "Message-ID": f"<{message.reference}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    if is_html:
        email.attach_alternative(message.body, "text/html")
    return email


def _sender_in_ascii(written: str) -> str:
    if written.isascii():
        return written
    name, address = parseaddr(written)
    address = _in_ascii(address)
    return formataddr((name, address)) if name and address.isascii() else address


def _in_ascii(address: str) -> str:
    """The address with its domain as DNS knows it (IDNA 2008, which Django's own is not)."""
    local, at, domain = address.rpartition("@")
    try:
        return f"{local}{at}{idna.encode(domain).decode()}" if not domain.isascii() else address
    except idna.IDNAError:
        raise Rejected("domain", status="Email_Failed_InvalidFormat") from None


def require_sound_headers(email: mail.EmailMultiAlternatives) -> None:
    """Refuses what would smuggle in a header of its own."""
    try:
        email.message()
    except ValueError as error:
        raise Rejected(type(error).__name__, status="Email_Failed_InvalidFormat") from None


def _send_by_other(backend: BaseEmailBackend, email: mail.EmailMultiAlternatives) -> None:
    """By a backend that we know nothing of, which keeps its own time-outs."""
    require_sound_headers(email)
    try:
        sent = backend.send_messages([email])
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise Unavailable(type(error).__name__) from None
    if sent == 0:
        raise Unavailable("the mail backend sent nothing")


class _Dialogue:
    """One SMTP session on a thread of its own, held to a time that nothing can stretch.

    A socket's time-out bounds each wait, not their sum, nor the name server, nor a server that
    dribbles. At the deadline the session is cut off, and what matters is only whether the text had
    begun to leave: before that nothing was sent, after it nobody knows.
    """

    def __init__(self, backend: SmtpBackend, email: mail.EmailMultiAlternatives) -> None:
        self._backend = backend
        self._email = email
        self._ended = threading.Event()
        self._gate = threading.Lock()
        self._connected = self._text_begun = self._cut_off = False
        self._error: Exception | None = None

    def hold(self, timeout: float) -> None:
        if not (self._email.from_email + self._email.to[0]).isascii():
            raise Rejected("SMTPUTF8 is not supported", status="Email_Failed_InvalidFormat")
        _hold_its_waits(self._backend, timeout)
        threading.Thread(target=self._session, name="smtp-session", daemon=True).start()
        if not self._ended.wait(timeout):
            self._hang_up()
            raise (OutcomeUnknown if self._text_begun else Unavailable)("no answer in time")
        if self._error:
            raise self._meaning_of(self._error) from None

    def _session(self) -> None:
        try:
            self._backend.open()
            self._watch(self._backend.connection)
            self._backend.send_messages([self._email])
        except Exception as error:  # noqa: BLE001 (sorted by _meaning_of)
            self._error = error
        finally:
            self._ended.set()
            with suppress(Exception):  # a farewell that goes wrong changes nothing
                self._backend.close()

    def _watch(self, connection: smtplib.SMTP | None) -> None:
        """Say hello, and from then on notice when the text begins to leave."""
        if connection is None:
            raise ConnectionError
        connection.ehlo_or_helo_if_needed()
        self._connected = True
        say, begin_data = connection.send, connection.data

        def data(content: Any) -> Any:
            connection.send = command  # type: ignore[method-assign, assignment]
            try:
                return begin_data(content)
            finally:
                connection.send = say  # type: ignore[method-assign]

        def command(words: Any) -> None:
            connection.send = text  # type: ignore[method-assign, assignment]
            say(words)

        def text(words: Any) -> None:
            with self._gate:
                if self._cut_off:
                    raise ConnectionAbortedError
                self._text_begun = True
            say(words)

        # We end the session anyway; a server that refuses and then keeps silent must not hide why.
        connection.rset = lambda: (250, b"")  # type: ignore[method-assign]
        connection.data = data  # type: ignore[method-assign, assignment]

    def _hang_up(self) -> None:
        with self._gate:
            self._cut_off = True
        _hang_up_on(self._backend)

    def _meaning_of(self, error: Exception) -> HandoverFailed:
        reply = _reply(error)
        if not self._connected:
            return Unavailable(reply)
        if isinstance(error, _CLEAR_ANSWERS):
            code = int(reply[:3])
            if code >= _REFUSED and code not in _ABOUT_THE_SESSION:
                return Rejected(reply, status=_refusal(error, reply))
            if code >= _NOT_NOW:
                # Greylisted, or its mailbox is full; 421 and words about the session are for all.
                only_this = code < _REFUSED and code != _CLOSING
                return Unavailable(reply, only_this_message=only_this)
        if isinstance(error, ValueError) and not self._text_begun:
            return Rejected(reply, status="Email_Failed_InvalidFormat")
        return (OutcomeUnknown if self._text_begun else Unavailable)(reply)


def _hold_its_waits(backend: SmtpBackend, timeout: float) -> None:
    backend.timeout = min(timeout, backend.timeout or timeout)
    backend.fail_silently = False


def _hang_up_on(backend: BaseEmailBackend) -> None:
    """Cut the session off, so that nobody waits on it for ever; nothing to do but for SMTP."""
    names = ("connection", "_partial_connection")
    connection = next(filter(None, (getattr(backend, name, None) for name in names)), None)
    sock = getattr(connection, "sock", None)
    if sock is not None:
        with suppress(OSError):  # it may have ended by itself
            sock.shutdown(socket.SHUT_RDWR)


def _reply(error: Exception) -> str:
    """Reply code and enhanced status, e.g. ``550 5.1.1``; never the text, which names people."""
    text: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, text = error.smtp_code, error.smtp_error
    else:
        return type(error).__name__
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}", said)
    return f"{code:03} {enhanced[0]}" if enhanced else f"{code:03}"


def _refusal(error: Exception, reply: str) -> str:
    if isinstance(error, smtplib.SMTPSenderRefused):
        return "Email_Failed"  # it says nothing of the recipient
    code, _, enhanced = reply.partition(" ")
    for key, word in _REFUSALS.items():
        if key == code if "." not in key else enhanced.startswith(key):
            return word
    return "Email_Failed"
