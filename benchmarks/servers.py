"""The processes that a measurement needs, started before it and gone after it."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ORGANISATION = "ttd"
NOWHERE = "http://127.0.0.1:9/"
"""A gateway for those who send nothing."""
PATIENCE = 10.0
"""Seconds a process gets to end by itself."""
SIGNAL_ON_DEATH_OF_PARENT = 1
"""As ``prctl`` calls it."""
WORK = "import django; django.setup(); from benchmarks.jobs import main; main()"


Address = tuple[str, int]


@dataclass(frozen=True)
class Application:
    """A running server with both routes."""

    addresses: Sequence[Address]
    """Of each of its processes."""
    token: str
    """A bearer token for our route."""


def stub_gateway(delay: float = 0.0) -> AbstractContextManager[str]:
    """The address of a gateway that takes every message after ``delay`` seconds."""
    return _stub("gateway", str(delay))


def stub_upstream(entries: Path) -> AbstractContextManager[str]:
    """The address of an upstream whose feed is this file: an entry in each line."""
    return _stub("upstream", str(entries))


@contextmanager
def _stub(who: str, argument: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.stubs", who, argument]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()


@contextmanager
def application(
    directory: Path, environment: Mapping[str, str], *, processes: int = 2, threads: int = 16
) -> Iterator[Application]:
    """Gunicorn with both routes on a migrated database; its log is shown if anything fails.

    Each process has a port of its own, as behind a proxy that spreads its clients evenly: of those
    who share one, the first to wake up takes nearly all connections that are kept alive.
    """
    token = manage(environment, "issue_token", f"--org={ORGANISATION}")
    log = directory / "server.log"
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("w"))
        addresses = [
            stack.enter_context(_process(environment, errors, threads)) for _ in range(processes)
        ]
        try:
            yield Application(addresses, token)
        except Exception:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise


@contextmanager
def _process(environment: Mapping[str, str], errors: IO[str], threads: int) -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        # Gunicorn sets it too, but too late for clients that connect while it starts.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command = _gunicorn(listener.fileno(), threads)
        options = {"env": environment, "stderr": errors, "pass_fds": [listener.fileno()]}
        with running(command, **options):
            yield listener.getsockname()


def migrated(database_url: str, gateway_url: str = NOWHERE) -> Mapping[str, str]:
    """The environment of every process that works on this database, which has its tables now."""
    environment = _environment(database_url, gateway_url)
    manage(environment, "migrate", "--run-syncdb", "--verbosity=0")
    return environment


def _environment(database_url: str, gateway_url: str) -> Mapping[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "DEBUG": "false",
        "SECRET_KEY": "only-for-the-life-of-one-benchmark-0123456789",
        "DATABASE_URL": database_url,
        "BENCHMARK_GATEWAY_URL": gateway_url,
        "BENCHMARK_UPSTREAM_URL": NOWHERE,
    }


def manage(environment: Mapping[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "django", *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _gunicorn(listener: int, threads: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"),
        *("--bind", f"fd://{listener}"),
        *("--worker-class", "gthread"),
        *("--threads", str(threads)),
        *("--keep-alive", "75"),
        *("--log-level", "warning"),
        "--no-control-socket",
    ]


class Worker:
    """A process with Django and one database that does jobs at our word; ``jobs`` has them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self._to, self._from = process.stdin, process.stdout

    def ask(self, job: str, **arguments: Any) -> Any:
        self.begin(job, **arguments)
        return self.answer()

    def begin(self, job: str, **arguments: Any) -> None:
        self._to.write(json.dumps([job, arguments]) + "\n")
        self._to.flush()

    def answer(self) -> Any:
        line = self._from.readline()
        if not line:
            raise RuntimeError("A worker has failed; what it said is above.")
        return json.loads(line)


@contextmanager
def workers(environment: Mapping[str, str], number: int) -> Iterator[Sequence[Worker]]:
    command = [sys.executable, "-c", WORK]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        yield [
            Worker(stack.enter_context(running(command, env=environment, **pipes)))
            for _ in range(number)
        ]


@contextmanager
def worker(environment: Mapping[str, str]) -> Iterator[Worker]:
    with workers(environment, 1) as (only,):
        yield only


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process in a group of its own, so that Ctrl-C reaches us alone and we end it in order."""
    with subprocess.Popen(
        command, start_new_session=True, preexec_fn=_end_with_us, **options
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end_with_us() -> None:
    """In the new process: it is not to outlive us, however we end. Only Linux can be asked so."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(SIGNAL_ON_DEATH_OF_PARENT, signal.SIGTERM)


def _end(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
