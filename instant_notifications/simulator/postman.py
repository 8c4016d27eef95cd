"""Brings the simulated receipts home when they are due."""

import logging
import os
import threading
from datetime import datetime
from typing import Final

from django.db import connections, transaction
from django.utils import timezone

from instant_notifications.gateways import Receipt
from instant_notifications.receipts import record_receipt
from instant_notifications.simulator.models import SimulatedReceipt

logger = logging.getLogger("instant_notifications.simulator")

BATCH: Final = 100
LONGEST_NAP: Final = 60.0


def deliver_due_receipts(now: datetime | None = None) -> int:
    """Report every receipt due by ``now``; any number of processes may do so at once."""
    now = now or timezone.now()
    due = SimulatedReceipt.objects.filter(sent_at=None, due_at__lte=now)
    delivered = 0
    while batch := list(due.select_related("message").order_by("due_at", "pk")[:BATCH]):
        delivered += sum(map(_deliver, batch))
    return delivered


def _deliver(receipt: SimulatedReceipt) -> bool:
    """In one transaction, so that a receipt that cannot be written down comes again."""
    with transaction.atomic():
        mine = SimulatedReceipt.objects.filter(pk=receipt.pk, sent_at=None)
        if not mine.update(sent_at=timezone.now()):
            return False
        record_receipt(
            receipt.message.gateway,
            Receipt(
                gateway_reference=receipt.message.gateway_reference,
                reference=receipt.message.reference,
                status=receipt.status,
                word=receipt.word,
            ),
        )
    return True


class Postman:
    """A thread of each process that sends, asleep until the next receipt is due."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._pid: int | None = None

    def wake(self) -> None:
        """Tell the thread that there is a new receipt to wait for, and start it if need be."""
        self._news.set()
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._work, name="simulator-postman", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._news.wait(self._nap())
            self._news.clear()

    def _nap(self) -> float:
        """Deliver what is due; the seconds until there is more to do."""
        try:
            deliver_due_receipts()
            waiting = SimulatedReceipt.objects.filter(sent_at=None).order_by("due_at")
            next_due = waiting.values_list("due_at", flat=True).first()
        except Exception as error:  # noqa: BLE001 (the database may be away; the thread lives on)
            logger.warning("simulated receipts wait error=%s", type(error).__name__)
            return 1.0
        finally:
            connections.close_all()  # a pause can be long, and others may need them
        if next_due is None:
            return LONGEST_NAP
        return min(max((next_due - timezone.now()).total_seconds(), 0.01), LONGEST_NAP)


postman = Postman()
