"""The example project in processes of its own: on a fresh database, served by a real server."""

import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from threading import Barrier
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import psycopg
import requests
from django.conf import settings
from django.db import connections
from psycopg import sql

from tests.web import free_port

ROOT: Final = Path(__file__).parent.parent.parent
API: Final = "/notifications/api/v1/"
SECRET_KEY: Final = "only-for-the-live-tests-0123456789abcdefghijklmnop"
LIVE: Final = "live"
"""The alias of a test's window into the database of its processes."""
ON_SQLITE: Final = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
PATIENCE: Final = 60.0
"""Seconds before a test gives up on something that a quiet machine does at once."""

_OURS: Final = ("DATABASE_URL", "DEBUG", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "EMAIL_URL")


def until(
    holds: Callable[[], Any], what: str, *, patience: float = PATIENCE, pause: float = 0.05
) -> Any:
    """What ``holds`` returns as soon as it is true."""
    deadline = monotonic() + patience
    while not (found := holds()):
        assert monotonic() < deadline, f"in vain: {what}"
        sleep(pause)
    return found


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the calls return, all begun at the same moment in threads of their own."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(PATIENCE)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what would make the example project another one."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **changes}


def manage(*words: str, **changes: str) -> str:
    """What a management command of the example project prints."""
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**changes), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Database:
    """A database of the kind that this run of the suite is about."""

    name: str

    @property
    def url(self) -> str:
        if ON_SQLITE:
            return f"sqlite:///{self.name}"
        return f"postgres://{_login()}{_address()}/{self.name}"

    @contextmanager
    def taken_away(self) -> Iterator[None]:
        """Meanwhile nobody can write; on PostgreSQL nobody comes in."""
        if ON_SQLITE:
            with closing(sqlite3.connect(self.name, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
                other.execute("ROLLBACK")
            return
        self.lock_out()
        try:
            yield
        finally:
            self.let_in()

    def lock_out(self) -> None:
        """End every connection and let nobody in again."""
        self._allow_connections(allowed=False)
        self.cut_off()

    def let_in(self) -> None:
        self._allow_connections(allowed=True)

    def cut_off(self) -> int:
        """End every connection and say how many there were; new ones are welcome."""
        (count,) = _run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s",
            self.name,
        )
        return int(count)

    def connections(self) -> int:
        (count,) = _run("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", self.name)
        return int(count)

    def _allow_connections(self, *, allowed: bool) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        _run(statement.format(sql.Identifier(self.name), sql.SQL(str(allowed).lower())))


@contextmanager
def migrated_database(directory: Path) -> Iterator[Database]:
    """A new database with every migration, to make copies of."""
    database = _new(directory)
    try:
        _create(database)
        manage("migrate", "--verbosity=0", DATABASE_URL=database.url, SECRET_KEY=SECRET_KEY)
        yield database
    finally:
        _drop(database)


@contextmanager
def copy_of(template: Database, directory: Path) -> Iterator[Database]:
    database = _new(directory)
    try:
        _create(database, template)
        yield database
    finally:
        _drop(database)


def _new(directory: Path) -> Database:
    name = f"live_{os.getpid()}_{uuid4().hex[:8]}"
    return Database(str(directory / f"{name}.sqlite3") if ON_SQLITE else name)


def _create(database: Database, template: Database | None = None) -> None:
    if ON_SQLITE:
        if template:
            copyfile(template.name, database.name)
        return
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    origin = template.name if template else "template0"
    _run(statement.format(sql.Identifier(database.name), sql.Identifier(origin)))


def _drop(database: Database) -> None:
    if not ON_SQLITE:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        _run(statement.format(sql.Identifier(database.name)))


def _run(statement: Any, *values: Any) -> Any:
    """One statement of the administrator's; its first row."""
    url = f"postgres://{_login()}{_address()}/postgres"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchone() if cursor.description else None


def _login() -> str:
    database = settings.DATABASES["default"]
    password = f":{quote(database['PASSWORD'])}" if database.get("PASSWORD") else ""
    return f"{quote(database['USER'])}{password}@" if database.get("USER") else ""


def _address() -> str:
    database = settings.DATABASES["default"]
    return f"{database.get('HOST') or '127.0.0.1'}:{database.get('PORT') or 5432}"


@contextmanager
def window(database: Database, alias: str) -> Iterator[None]:
    """A look into a database while others use it."""
    default = connections["default"]
    connections[alias] = type(default)({**default.settings_dict, "NAME": database.name}, alias)
    yield
    connections[alias].close()
    del connections[alias]


def gunicorn(*, processes: int = 1, threads: int = 16) -> list[str]:
    return [
        *("gunicorn", "example_project.wsgi:application", "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "gthread", "--workers", str(processes), "--threads", str(threads)),
        *("--access-logfile", "-", "--access-logformat", "served %(m)s by %(p)s"),
    ]


def uvicorn() -> list[str]:
    return ["uvicorn", "example_project.asgi:application", "--port", "{port}"]


def runserver() -> list[str]:
    return ["django", "runserver", "--noreload", "127.0.0.1:{port}"]


class Service:
    """One server of the example project; ``start`` after ``kill`` is a restart."""

    def __init__(
        self, command: Sequence[str], database: Database, token: str, log: Path, **changes: str
    ) -> None:
        self.command = command
        self.database = database
        self.token = token
        self.log = log
        self.environment = environment(
            **{
                "DATABASE_URL": database.url,
                "SECRET_KEY": SECRET_KEY,
                "DJANGO_SETTINGS_MODULE": "tests.live.settings",
                **changes,
            }
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ("127.0.0.1", 0)

    def start(self, **changes: str) -> None:
        """Returns once it answers; ``changes`` hold from now on."""
        self.environment |= changes
        self.run()
        until(self.answers, f"an answer from {self.command[0]}")
        if "--workers" in self.command:
            self._await_workers(int(self.command[self.command.index("--workers") + 1]))

    def _await_workers(self, expected: int) -> None:
        """The first worker to come must not get all that a test sends."""

        def have_answered() -> bool:
            at_once([self.feed] * 2 * expected)
            return len(self.workers("GET")) == expected

        if expected > 1:
            until(have_answered, f"{expected} workers")

    def workers(self, method: str) -> set[str]:
        """The processes that have served a request of this method."""
        return set(re.findall(rf"served {method} by (\S+)", self.said()))

    def run(self) -> "subprocess.Popen[bytes]":
        self.address = ("127.0.0.1", free_port())
        words = [word.format(port=self.address[1]) for word in self.command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    def kill(self) -> None:
        """As a power cut does it: every process at once, none is asked."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def answers(self) -> bool:
        """Whether it serves, database included."""
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself:\n{self.said()}"
        try:
            return self._request("GET", "future/shipment/feed", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def post(self, kind: str, body: Any) -> requests.Response:
        return self.post_to(f"future/orders/instant/{kind}", body)

    def post_to(self, path: str, body: Any) -> requests.Response:
        return self._request("POST", path, json=body)

    def get(self, path: str) -> requests.Response:
        return self._request("GET", f"future/shipment/{path}")

    def manifest(self, shipment_id: str) -> Any:
        return self.get(shipment_id).json()

    def feed(self) -> Any:
        return self.get("feed").json()

    def _request(
        self, method: str, path: str, *, timeout: float = PATIENCE, **named: Any
    ) -> requests.Response:
        host, port = self.address
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self.token}"
            return session.request(
                method, f"http://{host}:{port}{API}{path}", timeout=timeout, **named
            )

    def begin(self, kind: str, body: Any) -> socket.socket:
        """Send a request whole and do not wait for its answer."""
        request = requests.Request(
            "POST",
            f"http://{self.address[0]}:{self.address[1]}{API}future/orders/instant/{kind}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}", "Host": "127.0.0.1"},
        ).prepare()
        lines = [f"POST {request.path_url} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        assert isinstance(request.body, bytes)
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.body)
        return connection


def abort(connection: socket.socket) -> None:
    """Close it so that the other side notices at once (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def email(idempotency_id: str, *, to: str = "kari@example.com", body: str = "It is 428516") -> Any:
    return {
        "idempotencyId": idempotency_id,
        "recipientEmail": {
            "emailAddress": to,
            "emailSettings": {"subject": "Your code", "body": body},
        },
    }


def sms(idempotency_id: str, *, to: str = "+4799999999") -> Any:
    return {
        "idempotencyId": idempotency_id,
        "recipientSms": {
            "phoneNumber": to,
            "timeToLiveInSeconds": 300,
            "smsSettings": {"body": "Your code is 428516"},
        },
    }


def shipment_of(answer: requests.Response) -> str:
    """The shipment that an answer names, be it a success or a problem."""
    body = answer.json()
    return str(body.get("shipmentId") or body["notification"]["shipmentId"])


def states_of(manifest: Any) -> tuple[str, str]:
    """The word of the order and that of its only recipient."""
    (recipient,) = manifest["recipients"]
    return manifest["status"], recipient["status"]
