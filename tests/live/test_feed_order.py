from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.live.conftest import Serve
from tests.live.harness import PATIENCE, Service, gunicorn, shipment_of, sms, until

REFUSED = "+4740000001"
"""The simulator refuses it, which ends the order while its sender waits."""
DELIVERED = "+4740000000"
"""Taken at once; the receipt comes a little later, from another thread of that process."""


def test_readers_see_the_entries_of_many_processes_once_and_in_order(serve: Serve) -> None:
    service = serve(gunicorn(processes=4, threads=4), SIMULATOR_DELIVER_AFTER="0.05")
    readers = [Reader(service, page_size) for page_size in (1, 3, 7)]
    with ThreadPoolExecutor(len(readers)) as reading, ThreadPoolExecutor(8) as sending:
        following = [reading.submit(reader.follow, 120) for reader in readers]
        sent = list(sending.map(partial(_send, service), range(120), timeout=PATIENCE))
        for each in following:
            each.result(timeout=PATIENCE)
    assert len(service.workers("POST")) == 4
    entries = service.feed()
    assert [entry["sequenceNumber"] for entry in entries] == list(range(1, 121))
    assert {entry["shipmentId"] for entry in entries} == set(sent)
    assert len(set(sent)) == 120
    assert all(reader.seen == entries for reader in readers)


def _send(service: Service, number: int) -> str:
    to = REFUSED if number % 2 else DELIVERED
    answer = service.post("sms", sms(f"message-{number}", to=to))
    assert answer.status_code == (422 if number % 2 else 201), answer.text
    return shipment_of(answer)


class Reader:
    """Follows the feed in small pages, and expects each to go on where the last one ended."""

    def __init__(self, service: Service, page_size: int) -> None:
        self.service = service
        self.page_size = page_size
        self.seen: list[Any] = []

    def follow(self, number: int) -> None:
        until(self._seen(number), f"{number} entries")

    def _seen(self, number: int) -> Callable[[], bool]:
        def read() -> bool:
            while page := self.next_page():
                self.seen += page
            return len(self.seen) >= number

        return read

    def next_page(self) -> Any:
        cursor = len(self.seen)
        answer = self.service.get(f"feed?seq={cursor}&pageSize={self.page_size}")
        page = answer.json()
        expected = range(cursor + 1, cursor + 1 + len(page))
        assert [entry["sequenceNumber"] for entry in page] == list(expected)
        assert int(answer.headers["X-Oldest-Sequence"]) <= 1
        return page
