"""Processes that do jobs on one database, at our word."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.servers import running


class Worker:
    """One process; ``jobs.py`` says what it can do."""

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
    command = [sys.executable, "-m", "benchmarks.jobs"]
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
