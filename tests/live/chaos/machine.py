"""A disk that can be full, and a PostgreSQL server that can be killed: both of a campaign's own."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg

from tests.live.harness import PATIENCE, until

SIZE: Final = 512 * 2**20
PAGE: Final = 4096
KEEPER: Final = "postgres"
"""PostgreSQL refuses to run as root, so that it runs as this user where we are root."""

CALM: Final = (
    *("listen_addresses=127.0.0.1", "unix_socket_directories="),
    *("min_wal_size=4MB", "max_wal_size=32MB", "logging_collector=off"),
)


def lasting_port() -> int:
    """A free port for a server that goes and comes back.

    Nobody is given it meanwhile as the near end of a connection: those begin at 32768.
    """
    for port in Random().sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


class Disk:
    """A directory on a file system of its own, where we may mount one; else it is never full."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.can_be_full = _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.path))

    def fill(self) -> None:
        """Make it no larger than what it holds."""
        until(lambda: self._resize(self._used() + PAGE), "a full disk")

    def free(self) -> None:
        assert self._resize(SIZE)

    def remove(self) -> None:
        if self.can_be_full:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        shutil.rmtree(self.path)

    def _used(self) -> int:
        now = os.statvfs(self.path)
        return (now.f_blocks - now.f_bfree) * now.f_bsize

    def _resize(self, size: int) -> bool:
        return _mount("-o", f"remount,size={size}", str(self.path))


def _mount(*words: str) -> bool:
    if shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


@contextmanager
def disk() -> Iterator[Disk]:
    made = Disk()
    try:
        yield made
    finally:
        made.remove()


class Cluster:
    """A PostgreSQL server; ``start`` after any end is a restart."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.port = lasting_port()
        self.log = log
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgres://{KEEPER}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        self._directory.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self._directory, KEEPER)
            self._directory.parent.chmod(0o755)
        where = ["-D", str(self._directory), "--no-sync", "--wal-segsize=1"]
        who = ["-U", KEEPER, "-A", "trust", "-E", "UTF8", "--locale=C"]
        self._begin("initdb", *where, *who)
        assert self._process is not None
        assert self._process.wait(PATIENCE) == 0, self.log.read_text()

    def start(self) -> None:
        """Returns once it answers. What the last one has left behind may hold it up."""
        until(self._answers_or_begins, "an answer from PostgreSQL")

    def stop(self, number: signal.Signals) -> None:
        """SIGINT ends it in order, SIGQUIT at once, SIGKILL before it can do anything about it."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)

    def kill_a_backend(self) -> None:
        """The server takes fright and restarts them all."""
        statement = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        with suppress(psycopg.OperationalError, ProcessLookupError):
            with closing(self._connect()) as ours:
                pids = [pid for (pid,) in ours.execute(statement)]
                others = [pid for pid in pids if pid != ours.info.backend_pid]
            for pid in others[:1]:
                os.kill(pid, signal.SIGKILL)

    def _answers_or_begins(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            settings = [word for each in CALM for word in ("-c", each)]
            self._begin("postgres", "-D", str(self._directory), "-p", str(self.port), *settings)
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.url, connect_timeout=3, autocommit=True)

    def _begin(self, program: str, *words: str) -> None:
        keeper = KEEPER if os.geteuid() == 0 else None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(binaries() / program), *words],
                cwd=self._directory,
                user=keeper,
                group=None if keeper is None else pwd.getpwnam(keeper).pw_gid,
                extra_groups=None if keeper is None else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def binaries() -> Path:
    """Where PostgreSQL's programs are; the newest version's where there are several."""
    on_the_path = shutil.which("initdb")
    found = [Path(on_the_path), *_installed()] if on_the_path else _installed()
    return found[0].parent


def why_no_cluster() -> str:
    """Why there can be no server of our own; blank if there can."""
    if not (shutil.which("initdb") or _installed()):
        return "PostgreSQL's initdb is not installed"
    if os.geteuid() == 0 and not any(each.pw_name == KEEPER for each in pwd.getpwall()):
        return f"PostgreSQL does not run as root, and there is no user {KEEPER}"
    return ""


def _installed() -> Sequence[Path]:
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return sorted(found, key=lambda path: float(path.parts[-3]), reverse=True)


@contextmanager
def cluster(directory: Path, log: Path) -> Iterator[Cluster]:
    made = Cluster(directory, log)
    try:
        made.create()
        made.start()
        yield made
    finally:
        made.stop(signal.SIGQUIT)
