"""A mail server that does at each step of the dialogue what a test tells it, on a real socket."""

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum
from typing import Any, Final, TypeVar

import django

Server = TypeVar("Server", bound="MailServer")

SMTP: Final = "django.core.mail.backends.smtp.EmailBackend"

_OLD_NAMES: Final = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
}


def use_mail_backend(settings: Any, backend: str, **options: Any) -> None:
    """Have Django send mail by ``backend``, said in the words of the Django that runs."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
        return
    settings.EMAIL_BACKEND = backend
    for name, value in options.items():
        setattr(settings, _OLD_NAMES[name], value)


class Step(StrEnum):
    """Where a dialogue has come to; the server's reaction to each can be set."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    TEXT = "text"
    """354 has been said, nothing of the text has been read."""
    DOT = "dot"
    """The whole text is here, its reply is not given."""
    RSET = "RSET"
    QUIT = "QUIT"


@dataclass
class Mail:
    """A text that arrived whole, whatever the server answered."""

    sender: str
    recipients: list[str]
    data: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.data, policy=policy.default)


class HungUp(Exception):  # noqa: N818 (a reaction says it)
    """The server ends the connection."""


class Dialogue(socketserver.StreamRequestHandler):
    """One connection, seen from the server."""

    server: "MailServer"

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.said = b""
        self.sender = ""
        self.recipients: list[str] = []

    def handle(self) -> None:
        try:
            self._react(Step.GREETING)
            while line := self.rfile.readline(65_536):
                self._obey(line.decode("latin-1").strip())
        except (HungUp, OSError):
            return

    def finish(self) -> None:
        super().finish()
        self.request.close()
        self.server.leave()

    def say(self, reply: str) -> None:
        self.say_bytes(f"{reply}\r\n".encode())

    def say_bytes(self, reply: bytes) -> None:
        self.said += reply
        self.request.sendall(reply)

    def _obey(self, line: str) -> None:
        word = line[:4].upper()
        if word not in list(Step):
            self.say("500 unknown")
            return
        step = Step(word)
        self._note_address(step, line)
        self._react(step)
        if step is Step.DATA and self.said.startswith(b"354"):
            self._receive()
        if step is Step.QUIT:
            raise HungUp

    def _note_address(self, step: Step, line: str) -> None:
        address = re.search(r"<(.*)>", line)
        if step is Step.MAIL:
            self.sender, self.recipients = address[1] if address else "", []
        elif step is Step.RCPT:
            self.recipients.append(address[1] if address else "")

    def _receive(self) -> None:
        self._react(Step.TEXT)
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise HungUp
            lines.append(line.removeprefix(b"."))
        self.server.mails.append(Mail(self.sender, self.recipients, b"".join(lines)))
        self._react(Step.DOT)

    def _react(self, step: Step) -> None:
        self.said = b""
        self.server.enter(step)
        self.server.reaction_to(step)(self)


Reaction = Callable[[Dialogue], None]


def say(reply: str) -> Reaction:
    """Answer with this line, or these lines."""
    return lambda dialogue: dialogue.say(reply)


def read_on(dialogue: Dialogue) -> None:
    """No answer is due."""


def hang_up(dialogue: Dialogue) -> None:
    raise HungUp


def say_and_hang_up(reply: str) -> Reaction:
    def react(dialogue: Dialogue) -> None:
        dialogue.say(reply)
        raise HungUp

    return react


def stay_silent(dialogue: Dialogue) -> None:
    """Neither answer nor hang up."""
    dialogue.server.closing.wait()
    raise HungUp


def dribble(reply: str, *, pause: float = 1.0) -> Reaction:
    """Answer with one byte for each pause."""

    def react(dialogue: Dialogue) -> None:
        for byte in f"{reply}\r\n".encode():
            dialogue.say_bytes(bytes([byte]))
            if dialogue.server.closing.wait(pause):
                raise HungUp

    return react


def say_after(seconds: float, reply: str) -> Reaction:
    def react(dialogue: Dialogue) -> None:
        if dialogue.server.closing.wait(seconds):
            raise HungUp
        dialogue.say(reply)

    return react


def say_when(gate: threading.Event, reply: str, *, patience: float = 60.0) -> Reaction:
    """Answer when the gate opens."""

    def react(dialogue: Dialogue) -> None:
        if not gate.wait(patience):
            raise HungUp
        dialogue.say(reply)

    return react


GOOD: Final[dict[Step, Reaction]] = {
    Step.GREETING: say("220 test"),
    Step.EHLO: say("250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"),
    Step.HELO: say("250 test"),
    Step.AUTH: say("235 welcome"),
    Step.MAIL: say("250 go on"),
    Step.RCPT: say("250 go on"),
    Step.DATA: say("354 go on"),
    Step.TEXT: read_on,
    Step.DOT: say("250 taken"),
    Step.RSET: say("250 forgotten"),
    Step.QUIT: say("221 goodbye"),
}


class MailServer(socketserver.ThreadingTCPServer):
    """Listens on loopback and takes every mail, but for what ``on`` says."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue, bind_and_activate=False)
        self.tls = tls
        self.closing = threading.Event()
        self.mails: list[Mail] = []
        self._reactions = dict(GOOD)
        self._entered: list[Step] = []
        self._left = 0
        self._news = threading.Condition()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.server_bind()
        self.server_activate()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def on(self, step: Step, reaction: Reaction) -> None:
        self._reactions[step] = reaction

    def reaction_to(self, step: Step) -> Reaction:
        return self._reactions[step]

    def enter(self, step: Step) -> None:
        with self._news:
            self._entered.append(step)
            self._news.notify_all()

    def leave(self) -> None:
        with self._news:
            self._left += 1
            self._news.notify_all()

    def wait_until_all_have_left(self, patience: float = 5.0) -> bool:
        """Whether every client has ended its connection by then."""
        with self._news:
            return self._news.wait_for(
                lambda: self._left == self._entered.count(Step.GREETING), patience
            )

    def times(self, step: Step) -> int:
        """How often a client has come as far as this."""
        return self._entered.count(step)

    def wait_for(self, step: Step, *, times: int = 1, patience: float = 30.0) -> None:
        with self._news:
            came = self._news.wait_for(lambda: self.times(step) >= times, patience)
        assert came, f"{self.times(step)} dialogues instead of {times} came to {step}"

    @property
    def addressed(self) -> list[str]:
        """Whom the mails went to, one entry for each mail and recipient."""
        return [name for mail in list(self.mails) for name in mail.recipients]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that fails is the client's to report."""


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    with running(MailServer(**options)) as server:
        yield server


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
