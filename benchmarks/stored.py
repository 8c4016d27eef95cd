"""Databases in which so many messages are stored, to be asked in turn."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import databases
from benchmarks.messages import DAY, Messages, as_plain
from benchmarks.servers import NOWHERE, ORGANISATION, Worker, migrated, worker

DAYS: Final = 80
"""So old is the oldest."""


@dataclass(frozen=True)
class Stored:
    messages: int
    environment: Mapping[str, str]
    """Of all who work on this database."""
    reader: Worker
    """A process that does."""


@contextmanager
def stored(
    name: str, directory: Path, *numbers: int, gateway: str = NOWHERE
) -> Iterator[Sequence[Stored]]:
    """A database for each number; all of one kind, with their messages spread over the days."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(_stored(name, directory, messages, gateway)) for messages in numbers
        ]


@contextmanager
def _stored(name: str, directory: Path, messages: int, gateway: str) -> Iterator[Stored]:
    with databases.KINDS[name](directory) as database_url:
        environment = migrated(database_url, gateway)
        with worker(environment) as reader:
            stretch = Messages(
                creator=ORGANISATION, first=1, count=messages, oldest=DAYS * DAY, newest=60.0
            )
            reader.ask("fill", messages=as_plain(stretch))
            yield Stored(messages, environment, reader)
