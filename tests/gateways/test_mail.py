import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend

from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt
from instant_notifications.gateways.mail import MailGateway
from instant_notifications.statuses import Channel
from instant_notifications.testing import GRACE, GatewayContract, assert_impersonal
from tests import smtp
from tests.smtp import MailServer, Step, hang_up, say, stay_silent, use_mail_backend
from tests.web import free_port

LOCMEM: Final = "django.core.mail.backends.locmem.EmailBackend"
PATIENCE: Final = 0.6
BEFORE_DATA: Final = (Step.GREETING, Step.EHLO, Step.MAIL, Step.RCPT)

GOOD: Final = Message(
    reference="01900000-0000-7000-8000-000000000001",
    channel=Channel.EMAIL,
    destination="kari.nordmann@example.com",
    sender="post@sender.example",
    subject="Your secret code",
    body="It is 428516",
    timeout=10,
)
HASTY: Final = replace(GOOD, timeout=PATIENCE)


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with smtp.mail_server() as started:
        use_mail_backend(settings, smtp.SMTP, host="127.0.0.1", port=started.port)
        yield started


def hand_over(message: Message) -> Receipt:
    return MailGateway("mail").hand_over(message)


def failure_of(message: Message) -> HandoverFailed:
    with pytest.raises(HandoverFailed) as raised:
        hand_over(message)
    return raised.value


def failure_in_time(message: Message = HASTY) -> HandoverFailed:
    started = monotonic()
    failure = failure_of(message)
    assert monotonic() - started < message.timeout + GRACE
    return failure


def delivered(server: MailServer, message: Message) -> EmailMessage:
    hand_over(message)
    assert len(server.mails) == 1
    return server.mails[0].message


def text_of(part: EmailMessage) -> str:
    text = part.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n").rstrip("\n")


class TestMailGateway(GatewayContract):
    gateway_class = MailGateway
    messages = {Channel.EMAIL: GOOD}

    @pytest.fixture(autouse=True)
    def provider(self, server: MailServer, settings: Any) -> None:
        self.server, self.settings = server, settings

    def when_accepting(self, message: Message) -> Message:
        return message

    def when_refusing(self, message: Message) -> Message:
        self.server.on(Step.RCPT, say(f"550 5.1.1 <{message.destination}> is unknown"))
        return message

    def when_unreachable(self, message: Message) -> Message:
        use_mail_backend(self.settings, smtp.SMTP, host="127.0.0.1", port=free_port())
        return message

    def when_silent(self, message: Message) -> Message:
        self.server.on(Step.DOT, stay_silent)
        return message


class Inbox:
    """What aiosmtpd calls; keeps what arrives."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"


class Session(SMTP):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.ended = Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()


class IndependentServer(Controller):
    """Waits for its clients to leave before it stops."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.sessions: list[Session] = []

    def factory(self) -> SMTP:
        self.sessions.append(Session(self.handler, **self.SMTP_kwargs))
        return self.sessions[-1]

    def stop(self, no_assert: bool = False) -> None:
        left = [session.ended.wait(5) for session in self.sessions]
        super().stop(no_assert)
        assert all(left)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "starttls"])
def test_an_independent_server_gets_the_mail(
    encrypted: bool, settings: Any, certificate: ssl.SSLContext
) -> None:
    inbox, port = Inbox(), free_port()
    tls: dict[str, Any] = (
        {"tls_context": certificate, "require_starttls": True} if encrypted else {}
    )
    controller = IndependentServer(inbox, hostname="localhost", port=port, **tls)
    controller.start()
    try:
        use_mail_backend(settings, smtp.SMTP, host="localhost", port=port, use_tls=encrypted)
        hand_over(GOOD)
    finally:
        controller.stop()
    assert len(inbox.envelopes) == 1
    assert inbox.envelopes[0].rcpt_tos == [GOOD.destination]
    arrived = message_from_bytes(inbox.envelopes[0].content, policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    assert text_of(arrived) == GOOD.body


def test_the_envelope_names_sender_and_recipient(server: MailServer) -> None:
    hand_over(GOOD)
    assert server.mails[0].sender == GOOD.sender
    assert server.mails[0].recipients == [GOOD.destination]


def test_the_headers_say_who_what_and_when(server: MailServer) -> None:
    arrived = delivered(server, GOOD)
    assert arrived["From"] == GOOD.sender
    assert arrived["To"] == GOOD.destination
    assert arrived["Subject"] == GOOD.subject
    assert arrived["Auto-Submitted"] == "auto-generated"
    age = datetime.now(UTC) - parsedate_to_datetime(arrived["Date"]).replace(tzinfo=UTC)
    assert abs(age) < timedelta(minutes=1)


def test_the_message_id_is_made_of_our_reference(server: MailServer) -> None:
    receipt = hand_over(GOOD)
    assert server.mails[0].message["Message-ID"] == f"<{GOOD.reference}@sender.example>"
    assert receipt.gateway_reference == f"<{GOOD.reference}@sender.example>"


def test_without_a_sender_it_comes_from_the_default_address(
    server: MailServer, settings: Any
) -> None:
    settings.DEFAULT_FROM_EMAIL = "The Office <office@default.example>"
    arrived = delivered(server, replace(GOOD, sender=""))
    assert server.mails[0].sender == "office@default.example"
    assert arrived["From"] == "The Office <office@default.example>"
    assert arrived["Message-ID"] == f"<{GOOD.reference}@default.example>"


@pytest.mark.parametrize(
    "body",
    [
        "It is 428516",
        "Blåbærsyltetøy — ✓ 🎉",
        ".a line that begins with a dot\n..\n.\nthe end",
        "From the start\n\nto the end",
        "x" * 3000,
        "é" * 3000,
    ],
    ids=["ascii", "unicode", "dots", "from", "long", "long-unicode"],
)
def test_a_plain_text_arrives_as_it_was_written(server: MailServer, body: str) -> None:
    arrived = delivered(server, replace(GOOD, body=body))
    assert arrived.get_content_type() == "text/plain"
    assert text_of(arrived) == body


def test_a_unicode_subject_arrives_as_it_was_written(server: MailServer) -> None:
    subject = "Koden din er på vei til Ærøskøbing 🎉 " + "og " * 60 + "slutt"
    assert delivered(server, replace(GOOD, subject=subject))["Subject"] == subject


def test_html_comes_with_a_plain_text_before_it(server: MailServer) -> None:
    html = '<style>p {}</style><p>Koden er <b>428516</b>.</p><a href="https://e.no/x">Mer</a>'
    arrived = delivered(server, replace(GOOD, body=html, content_type="Html"))
    assert arrived.get_content_type() == "multipart/alternative"
    plain, rich = list(arrived.iter_parts())
    assert isinstance(plain, EmailMessage)
    assert isinstance(rich, EmailMessage)
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    assert text_of(plain).split() == ["Koden", "er", "428516.", "Mer", "(https://e.no/x)"]
    assert text_of(rich) == html


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("member", ["subject", "destination", "sender"])
def test_a_line_break_injects_nothing(server: MailServer, member: str, line_break: str) -> None:
    smuggled: Any = {member: f"{getattr(GOOD, member)}{line_break}Bcc: eve@example.com"}
    failure = failure_of(replace(GOOD, **smuggled))
    assert isinstance(failure, Rejected)
    assert failure.status == "Email_Failed_InvalidFormat"
    assert not server.mails


@pytest.mark.parametrize("separator", [", ", "; ", " "])
def test_two_addresses_in_one_get_nothing(server: MailServer, separator: str) -> None:
    both = f"kari@example.com{separator}ola@example.com"
    assert isinstance(failure_of(replace(GOOD, destination=both)), Rejected)
    assert not server.mails


@pytest.mark.parametrize(
    ("domain", "ascii_domain"),
    [
        ("blåbær.example", "xn--blbr-roah.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
    ],
    ids=["nordic", "sharp-s", "final-sigma"],
)
def test_an_international_domain_is_written_in_ascii(
    server: MailServer, domain: str, ascii_domain: str
) -> None:
    """As IDNA 2008 has it (RFC 5891); the older one sends *faß* to another domain, *fass*."""
    arrived = delivered(server, replace(GOOD, destination=f"kari@{domain}"))
    assert server.mails[0].recipients == [f"kari@{ascii_domain}"]
    assert arrived["To"].addresses[0].addr_spec == f"kari@{ascii_domain}"


def test_an_international_sender_leaves_ascii_headers(server: MailServer) -> None:
    arrived = delivered(server, replace(GOOD, sender="post@blåbær.example"))
    assert server.mails[0].sender == "post@xn--blbr-roah.example"
    assert b"Message-ID: <" + GOOD.reference.encode() + b"@xn--blbr-roah.example>" in (
        server.mails[0].data
    )
    assert arrived["From"].addresses[0].addr_spec == "post@xn--blbr-roah.example"


@pytest.mark.parametrize("member", ["destination", "sender"])
def test_an_address_that_needs_smtputf8_is_refused(server: MailServer, member: str) -> None:
    address: Any = {member: "æge_sjøåsen@example.com"}
    failure = failure_of(replace(GOOD, **address))
    assert isinstance(failure, Rejected)
    assert failure.status == "Email_Failed_InvalidFormat"
    assert not server.mails


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("550 no such user", "Email_Failed_Bounced"),
        ("550 5.1.1 no such user", "Email_Failed_Bounced"),
        ("551 not local", "Email_Failed_Bounced"),
        ("552 5.2.2 mailbox full", "Email_Failed_Bounced"),
        ("501 bad address", "Email_Failed_InvalidFormat"),
        ("553 bad address", "Email_Failed_InvalidFormat"),
        ("550 5.1.3 bad address", "Email_Failed_InvalidFormat"),
        ("550 5.7.1 looks like spam", "Email_Failed_FilteredSpam"),
        ("554 no", "Email_Failed"),
    ],
)
def test_a_refused_recipient_gets_the_right_word(
    server: MailServer, reply: str, status: str
) -> None:
    server.on(Step.RCPT, say(reply))
    failure = failure_of(GOOD)
    assert isinstance(failure, Rejected)
    assert failure.status == status
    assert failure.reason.split() == [word for word in reply.split() if word[0].isdigit()]
    assert not server.mails


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("550 5.7.1 looks like spam", "Email_Failed_FilteredSpam"),
        ("554 5.6.0 malformed", "Email_Failed"),
        ("552 too large", "Email_Failed"),
    ],
)
@pytest.mark.parametrize("step", [Step.DATA, Step.DOT])
def test_a_refused_text_is_final(server: MailServer, step: Step, reply: str, status: str) -> None:
    server.on(step, say(reply))
    failure = failure_of(GOOD)
    assert isinstance(failure, Rejected)
    assert failure.status == status


@pytest.mark.parametrize("reply", ["450 busy", "451 4.7.1 greylisted", "452 full", "421 closing"])
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
def test_not_now_is_not_sent(server: MailServer, step: Step, reply: str) -> None:
    server.on(step, say(reply))
    failure = failure_of(GOOD)
    assert isinstance(failure, Unavailable)
    assert failure.only_this_message is not reply.startswith("421")


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        (Step.GREETING, "421 not now"),
        (Step.GREETING, "554 no service for you"),
        (Step.MAIL, "530 5.7.0 must issue a STARTTLS command first"),
        (Step.MAIL, "530 5.7.0 authentication required"),
        (Step.MAIL, "503 bad sequence"),
        (Step.RCPT, "530 5.7.0 authentication required"),
    ],
)
def test_a_reply_about_our_session_is_not_the_end_of_the_message(
    server: MailServer, step: Step, reply: str
) -> None:
    server.on(step, say(reply))
    failure = failure_of(GOOD)
    assert isinstance(failure, Unavailable)
    assert not failure.only_this_message
    assert not server.mails


@pytest.mark.parametrize("reply", ["550 no such user", "553 5.7.1 sender not owned"])
def test_a_refused_sender_says_nothing_of_the_recipient(server: MailServer, reply: str) -> None:
    server.on(Step.MAIL, say(reply))
    failure = failure_of(GOOD)
    assert isinstance(failure, Rejected)
    assert failure.status == "Email_Failed"


@pytest.mark.parametrize("reply", ["421 not now", "550 your host is blocked", "554 go away"])
def test_a_refused_hello_is_not_the_end_of_the_message(server: MailServer, reply: str) -> None:
    server.on(Step.EHLO, say(reply))
    server.on(Step.HELO, say(reply))
    assert isinstance(failure_of(GOOD), Unavailable)


def test_a_server_that_knows_only_helo_is_good_enough(server: MailServer) -> None:
    server.on(Step.EHLO, say("502 not implemented"))
    assert delivered(server, GOOD)["To"] == GOOD.destination


def with_login(settings: Any, server: MailServer, password: str) -> None:
    use_mail_backend(
        settings, smtp.SMTP, host="127.0.0.1", port=server.port, username="u", password=password
    )


def test_it_logs_on_where_it_has_a_password(server: MailServer, settings: Any) -> None:
    with_login(settings, server, "secret")
    hand_over(GOOD)
    assert server.times(Step.AUTH) == 1
    assert len(server.mails) == 1


@pytest.mark.parametrize("reply", ["535 5.7.8 wrong", "534 too weak", "454 temporary", "500 what"])
def test_a_failed_log_on_is_not_sent(server: MailServer, settings: Any, reply: str) -> None:
    with_login(settings, server, "secret")
    server.on(Step.AUTH, say(reply))
    assert isinstance(failure_of(GOOD), Unavailable)
    assert not server.mails


def test_a_failed_log_on_ends_the_connection(server: MailServer, settings: Any) -> None:
    with_login(settings, server, "secret")
    server.on(Step.AUTH, say("535 5.7.8 wrong"))
    kept = failure_of(GOOD)
    assert server.wait_until_all_have_left(), kept


def test_a_password_that_smtp_cannot_carry_is_not_sent(server: MailServer, settings: Any) -> None:
    with_login(settings, server, "blåbær")
    failure = failure_of(GOOD)
    assert not server.mails
    assert isinstance(failure, Unavailable)
    assert "blåbær" not in str(failure)


def test_a_refused_connection_is_not_sent(settings: Any) -> None:
    use_mail_backend(settings, smtp.SMTP, host="127.0.0.1", port=free_port())
    assert isinstance(failure_of(GOOD), Unavailable)


def test_an_unknown_host_is_not_sent(settings: Any) -> None:
    use_mail_backend(settings, smtp.SMTP, host="nowhere.invalid", port=25)
    assert isinstance(failure_of(GOOD), Unavailable)


@pytest.mark.parametrize("step", BEFORE_DATA)
def test_a_connection_lost_before_the_text_is_not_sent(server: MailServer, step: Step) -> None:
    server.on(step, hang_up)
    server.on(Step.HELO, hang_up)
    assert isinstance(failure_of(GOOD), Unavailable)
    assert not server.mails


@pytest.mark.parametrize("step", [*BEFORE_DATA, Step.DATA])
def test_a_connection_lost_after_a_good_reply_is_not_sent_until_the_text_is(
    server: MailServer, step: Step
) -> None:
    reply = {Step.GREETING: "220 test", Step.EHLO: "250 test", Step.DATA: "354 go on"}
    server.on(step, smtp.say_and_hang_up(reply.get(step, "250 go on")))
    expected = OutcomeUnknown if step is Step.DATA else Unavailable
    assert isinstance(failure_of(GOOD), expected)
    assert not server.mails


@pytest.mark.parametrize("reaction", [hang_up, stay_silent])
def test_nothing_has_left_until_the_server_asks_for_the_text(
    server: MailServer, reaction: smtp.Reaction
) -> None:
    server.on(Step.DATA, reaction)
    assert isinstance(failure_of(HASTY), Unavailable)
    assert not server.mails


def test_a_connection_lost_after_the_text_is_ambiguous(server: MailServer) -> None:
    server.on(Step.DOT, hang_up)
    assert isinstance(failure_of(GOOD), OutcomeUnknown)
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    "reply", ["250 " + "x" * 9000, "200 fine", "well, yes"], ids=["too-long", "200", "no-code"]
)
def test_an_answer_nobody_understands_after_the_text_is_ambiguous(
    server: MailServer, reply: str
) -> None:
    server.on(Step.DOT, say(reply))
    assert isinstance(failure_of(GOOD), OutcomeUnknown)


@pytest.mark.parametrize(
    "reaction",
    [hang_up, say("500 what"), say("221 " + "x" * 9000), say("nonsense")],
    ids=["hang-up", "error", "too-long", "no-code"],
)
def test_a_farewell_that_goes_wrong_changes_nothing(
    server: MailServer, reaction: smtp.Reaction
) -> None:
    server.on(Step.QUIT, reaction)
    assert hand_over(GOOD).gateway_reference
    assert len(server.mails) == 1


@pytest.mark.parametrize("failed_step", [Step.MAIL, Step.RCPT, Step.DOT])
def test_a_farewell_that_goes_wrong_does_not_hide_a_refusal(
    server: MailServer, failed_step: Step
) -> None:
    server.on(failed_step, say("550 no"))
    server.on(Step.RSET, hang_up)
    assert isinstance(failure_of(GOOD), Rejected)


class TestItReturnsInTime:
    @pytest.mark.parametrize("step", BEFORE_DATA)
    def test_when_the_server_falls_silent_before_the_text(
        self, server: MailServer, step: Step
    ) -> None:
        server.on(step, stay_silent)
        assert isinstance(failure_in_time(), Unavailable)

    def test_when_the_server_falls_silent_after_the_text(self, server: MailServer) -> None:
        server.on(Step.DOT, stay_silent)
        assert isinstance(failure_in_time(), OutcomeUnknown)

    def test_when_the_server_falls_silent_at_the_log_on(
        self, server: MailServer, settings: Any
    ) -> None:
        with_login(settings, server, "secret")
        server.on(Step.AUTH, stay_silent)
        assert isinstance(failure_in_time(), Unavailable)

    def test_when_the_server_does_not_say_goodbye(self, server: MailServer) -> None:
        server.on(Step.QUIT, stay_silent)
        started = monotonic()
        assert hand_over(HASTY).gateway_reference
        assert monotonic() - started < PATIENCE + GRACE

    def test_when_the_server_refuses_and_falls_silent(self, server: MailServer) -> None:
        server.on(Step.RCPT, say("550 no"))
        server.on(Step.RSET, stay_silent)
        assert isinstance(failure_in_time(), Rejected)

    @pytest.mark.parametrize("step", BEFORE_DATA)
    def test_when_the_server_dribbles_before_the_text(self, server: MailServer, step: Step) -> None:
        server.on(step, smtp.dribble("220-" + "x" * 60, pause=0.1))
        assert isinstance(failure_in_time(), Unavailable)

    def test_when_the_server_dribbles_after_the_text(self, server: MailServer) -> None:
        """Cut off at the second digit, *25* is neither a yes nor a no."""
        server.on(Step.DOT, smtp.dribble("250 taken", pause=PATIENCE * 2 / 3))
        assert isinstance(failure_in_time(), OutcomeUnknown)

    def test_when_the_server_goes_on_and_on_after_the_text(self, server: MailServer) -> None:
        server.on(Step.DOT, smtp.dribble("250-" + "x" * 60, pause=0.1))
        assert isinstance(failure_in_time(), OutcomeUnknown)

    def test_when_the_server_stops_reading(self, settings: Any) -> None:
        with smtp.mail_server(receive_buffer=4096) as server:
            use_mail_backend(settings, smtp.SMTP, host="127.0.0.1", port=server.port)
            server.on(Step.TEXT, stay_silent)
            failure = failure_in_time(replace(GOOD, timeout=3, body="It is 428516\n" * 400_000))
            assert server.times(Step.TEXT) == 1
        assert isinstance(failure, OutcomeUnknown)

    def test_when_none_of_many_addresses_answers(
        self, settings: Any, deaf_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", deaf_port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 8)
        use_mail_backend(settings, smtp.SMTP, host="mail.example.com", port=deaf_port)
        assert isinstance(failure_in_time(), Unavailable)

    def test_when_the_name_server_is_slow(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def look_up(*_: Any, **__: Any) -> Any:
            time.sleep(PATIENCE + 2 * GRACE)
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        use_mail_backend(settings, smtp.SMTP, host="mail.example.com", port=25)
        assert isinstance(failure_in_time(), Unavailable)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full, so that a further connection gets no answer at all."""
    with ExitStack() as open_sockets, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        yield deaf.getsockname()[1]


@pytest.fixture(scope="module")
def certificate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def certificate(certificate_file: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's side of TLS, which this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    return context


@pytest.fixture
def tls_server(settings: Any, certificate: ssl.SSLContext) -> Iterator[MailServer]:
    with smtp.mail_server(tls=certificate) as started:
        use_mail_backend(settings, smtp.SMTP, host="localhost", port=started.port, use_ssl=True)
        yield started


class TestOverTls:
    def test_the_mail_arrives(self, tls_server: MailServer) -> None:
        assert delivered(tls_server, GOOD)["To"] == GOOD.destination

    def test_a_certificate_nobody_vouches_for_is_not_sent_to(
        self, tls_server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        assert isinstance(failure_of(GOOD), Unavailable)
        assert not tls_server.mails

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (Step.GREETING, Unavailable),
            (Step.EHLO, Unavailable),
            (Step.RCPT, Unavailable),
            (Step.DOT, OutcomeUnknown),
        ],
    )
    @pytest.mark.parametrize(
        "reaction", [stay_silent, smtp.dribble("250-" + "x" * 60, pause=0.1)], ids=["hang", "drip"]
    )
    def test_it_returns_in_time(
        self,
        tls_server: MailServer,
        step: Step,
        expected: type[HandoverFailed],
        reaction: smtp.Reaction,
    ) -> None:
        tls_server.on(step, reaction)
        assert isinstance(failure_in_time(), expected)


@pytest.mark.parametrize("step", [Step.GREETING, Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("code", ["550", "451"])
def test_what_the_server_says_about_people_stays_with_it(
    server: MailServer, step: Step, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.on(step, say(f"{code} <{GOOD.destination}>: {GOOD.subject} {GOOD.body} refused"))
    failure = failure_of(GOOD)
    assert_impersonal(failure, GOOD)
    assert GOOD.sender not in f"{failure!r}{caplog.text}"


class TestAnotherBackend:
    """Of a backend that does not speak SMTP we only know what it returns or raises."""

    def test_the_mail_goes_by_it(self, settings: Any) -> None:
        use_mail_backend(settings, LOCMEM)
        receipt = hand_over(GOOD)
        assert [sent.to for sent in mail.outbox] == [[GOOD.destination]]
        assert mail.outbox[0].subject == GOOD.subject
        assert mail.outbox[0].message()["Message-ID"] == receipt.gateway_reference

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("Stumbling", OutcomeUnknown), ("OutOfReach", Unavailable), ("Idle", Unavailable)],
    )
    def test_what_goes_wrong_is_sorted(
        self, name: str, expected: type[HandoverFailed], settings: Any
    ) -> None:
        use_mail_backend(settings, f"tests.gateways.backends.{name}")
        failure = failure_of(GOOD)
        assert isinstance(failure, expected)
        assert_impersonal(failure, GOOD)

    def test_a_header_cannot_be_smuggled_in(self, settings: Any) -> None:
        use_mail_backend(settings, LOCMEM)
        failure = failure_of(replace(GOOD, subject="hello\r\nBcc: eve@example.com"))
        assert isinstance(failure, Rejected)
        assert not mail.outbox

    def test_one_that_cannot_be_made_is_not_sent_by(self, settings: Any) -> None:
        use_mail_backend(settings, "no.such.backend.Mail")
        with pytest.raises((NotConfigured, Unavailable)):
            hand_over(GOOD)


def test_a_second_message_goes_by_a_connection_of_its_own(server: MailServer) -> None:
    gateway = MailGateway("mail")
    gateway.hand_over(GOOD)
    gateway.hand_over(replace(GOOD, destination="ola@example.com"))
    assert server.addressed == [GOOD.destination, "ola@example.com"]
    assert server.times(Step.GREETING) == 2


def test_a_good_message_follows_a_failed_one(server: MailServer) -> None:
    gateway = MailGateway("mail")
    server.on(Step.DOT, stay_silent)
    with pytest.raises(OutcomeUnknown):
        gateway.hand_over(HASTY)
    server.on(Step.DOT, say("250 taken"))
    assert gateway.hand_over(GOOD).gateway_reference


class TestProbe:
    def failure(self, timeout: float = PATIENCE) -> NotConfigured | Unavailable:
        started = monotonic()
        with pytest.raises((NotConfigured, Unavailable)) as raised:
            MailGateway("mail").probe(timeout)
        assert monotonic() - started < timeout + GRACE
        assert raised.value.__cause__ is None
        return raised.value

    @pytest.mark.parametrize("farewell", [say("221 goodbye"), stay_silent])
    def test_a_good_server_is_logged_on_to_and_given_nothing(
        self, server: MailServer, settings: Any, farewell: smtp.Reaction
    ) -> None:
        with_login(settings, server, "secret")
        server.on(Step.QUIT, farewell)
        MailGateway("mail").probe(PATIENCE)
        server.wait_for(Step.QUIT)
        assert (server.times(Step.AUTH), server.times(Step.MAIL)) == (1, 0)

    @pytest.mark.parametrize(
        ("step", "reaction", "kind"),
        [
            (Step.AUTH, say("535 5.7.8 wrong"), NotConfigured),
            (Step.AUTH, say("454 4.7.0 later"), Unavailable),
            (Step.AUTH, stay_silent, Unavailable),
            (Step.GREETING, say("554 go away"), Unavailable),
            (Step.GREETING, hang_up, Unavailable),
            (Step.EHLO, smtp.dribble("250-" + "x" * 60, pause=0.1), Unavailable),
        ],
    )
    def test_what_is_wrong_is_told(
        self,
        server: MailServer,
        settings: Any,
        step: Step,
        reaction: smtp.Reaction,
        kind: type[Exception],
    ) -> None:
        with_login(settings, server, "secret")
        server.on(step, reaction)
        assert type(self.failure()) is kind
        assert reaction is stay_silent or server.wait_until_all_have_left()

    def test_a_refused_hello_is_told_without_a_log_on(self, server: MailServer) -> None:
        server.on(Step.EHLO, say("550 blocked"))
        server.on(Step.HELO, say("550 blocked"))
        assert str(self.failure()) == str(Unavailable("550"))

    def test_nobody_there(self, settings: Any) -> None:
        use_mail_backend(settings, smtp.SMTP, host="127.0.0.1", port=free_port())
        assert isinstance(self.failure(), Unavailable)

    def test_a_backend_that_cannot_be_made(self, settings: Any) -> None:
        use_mail_backend(settings, "no.such.backend.Mail")
        with pytest.raises(NotConfigured):
            MailGateway("mail").probe(PATIENCE)

    @pytest.mark.parametrize("name", ["Slow", "Closed"])
    def test_one_of_another_kind_that_does_not_open(self, name: str, settings: Any) -> None:
        use_mail_backend(settings, f"{__name__}.{name}")
        assert isinstance(self.failure(), Unavailable)

    def test_one_of_another_kind_that_opens(self, settings: Any) -> None:
        use_mail_backend(settings, LOCMEM)
        MailGateway("mail").probe(PATIENCE)


class Slow(BaseEmailBackend):
    def open(self) -> bool:
        time.sleep(PATIENCE + 2 * GRACE)
        return True


class Closed(BaseEmailBackend):
    def open(self) -> bool:
        raise ConnectionRefusedError


def test_a_backend_of_anymails_is_better_used_by_its_own_gateway(settings: Any) -> None:
    assert list(MailGateway("mail").check()) == []
    pytest.importorskip("anymail", reason="the extra `anymail` is not installed")
    use_mail_backend(settings, "anymail.backends.test.EmailBackend")
    (warning,) = MailGateway("mail").check()
    assert warning.id == "instant_notifications.W009"
    assert "AnymailGateway" in str(warning.hint)
