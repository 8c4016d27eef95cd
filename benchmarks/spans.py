"""What one send waits for, in the order in which it does."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, Final
from unittest.mock import patch

from django.db import connection
from django.test import Client

from benchmarks.clients import OURS, new_key, order
from benchmarks.gateway import BenchmarkGateway
from benchmarks.servers import ORGANISATION
from instant_notifications import tokens

REST: Final = "the rest: Python"
_table = re.compile(r"instant_notifications_(\w+)").search


class Spans:
    """Named stretches of time; of those that come again, each has a number."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._seen: Counter[str] = Counter()

    def timed(self, name: str, act: Callable[..., Any], *arguments: Any) -> Any:
        self._seen[name] += 1
        number = self._seen[name]
        began = perf_counter()
        try:
            return act(*arguments)
        finally:
            self.seconds[f"{name} {number}" if number > 1 else name] = perf_counter() - began


def parts_of_sends(times: int) -> Mapping[str, Sequence[float]]:
    """Seconds of each part, send for send."""
    client = Client(headers={"authorization": f"Bearer {tokens.issue(ORGANISATION)}"})
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(times + 10):
        spans = _spans_of_one(client)
        if number >= 10:  # connections and caches are filled
            for part, seconds in spans.items():
                parts[part].append(seconds)
    return parts


def _spans_of_one(client: Client) -> Mapping[str, float]:
    spans = Spans()
    with _watched(spans):
        began = perf_counter()
        answer = client.post(OURS, order(new_key()), content_type="application/json")
        took = perf_counter() - began
    assert answer.status_code == 201, answer.content[:500]
    return {**spans.seconds, REST: took - sum(spans.seconds.values())}


@contextmanager
def _watched(spans: Spans) -> Iterator[None]:
    def statement(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        return spans.timed(_name(sql), execute, sql, *rest)

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(statement))
        for owner, method, name in _waits():
            timed = _timed_method(spans, name, getattr(owner, method))
            stack.enter_context(patch.object(owner, method, timed))
        yield


def _waits() -> Iterator[tuple[Any, str, str]]:
    """Methods that wait for somebody, besides the statements."""
    yield connection, "connect", "a connection from the pool"
    yield connection, "_commit", "COMMIT"
    yield BenchmarkGateway, "send", "the gateway's call"
    psycopg: Any = connection.Database  # type: ignore[attr-defined]
    if pipeline := getattr(psycopg, "Pipeline", None):
        yield pipeline, "__exit__", "the answers to these"


def _timed_method(spans: Spans, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        return spans.timed(name, method, *arguments)

    return timed


def _name(sql: str) -> str:
    table = _table(sql)
    return " ".join([sql.split(maxsplit=1)[0], *([table[1]] if table else [])])
