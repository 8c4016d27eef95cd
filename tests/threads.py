"""Real threads, each with database connections of its own that are closed when it ends."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.db import connections


def begin(call: Callable[[], Any]) -> "Future[Any]":
    pool = ThreadPoolExecutor(1)
    future = pool.submit(_and_close, call)
    pool.shutdown(wait=False)
    return future


def in_thread(call: Callable[[], Any]) -> Any:
    """What ``call`` returns in a thread that has seen none of our uncommitted work."""
    return begin(call).result(timeout=30)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    return [future.result(timeout=30) for future in [begin(call) for call in calls]]


def _and_close(call: Callable[[], Any]) -> Any:
    try:
        return call()
    finally:
        connections.close_all()
