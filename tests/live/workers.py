"""Workers in processes of their own, and somebody who kills them and starts them again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.live.harness import PATIENCE, ROOT, until
from tests.web import free_port


class Worker:
    """One command; ``start`` after ``kill`` is a restart."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.words = words
        self.environment = environment
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.words],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ends(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def ask(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """As a power cut does it: with every process that it has made, none is asked."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        while others := self.children():
            _kill(*others)
        self._process.wait(PATIENCE)
        self._process = None

    def kill_children(self) -> None:
        """As the kernel does it with what takes too much memory."""
        _kill(*self.children())

    def children(self) -> list[int]:
        """RQ does each task in a child that leaves the group, but not the session."""
        assert self._process is not None
        first = self._process.pid
        return [pid for pid, session in _sessions() if session == first and pid != first]


def _sessions() -> list[tuple[int, int]]:
    """Each process that lives, and the one that began its session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
            if state != "Z":
                found.append((int(stat.parent.name), int(session)))
    return found


def _kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class RedisServer:
    """It keeps nothing on disk: who kills it empties it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0?socket_connect_timeout=2"

    def start(self) -> None:
        words = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*words, "--save", "", "--appendonly", "no", "--dir", str(self._directory)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, "an answer from redis-server")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def tell(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(100).decode().strip()

    def _answers(self) -> bool:
        try:
            return self.tell("PING") == "+PONG"
        except OSError:
            return False
