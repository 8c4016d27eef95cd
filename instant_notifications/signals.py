"""Signals for observers. What a message does next never depends on who listens."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from instant_notifications import privacy

logger = logging.getLogger("instant_notifications")


class _ForObservers(Signal):
    """A receiver that raises is logged by place: its text may quote what must not be seen."""

    def _log_robust_failure(self, receiver: Callable[..., Any], err: Exception) -> None:
        name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
        logger.error("signal receiver failed receiver=%s error=%s", name, privacy.place_of(err))


status_changed = _ForObservers()
"""Sent on commit, each time a delivery comes to show another status word.

``sender`` is the model ``Delivery``. Arguments: ``delivery``, as it now stands; ``old`` and
``new``, the status words; ``cause``, a ``statuses.Cause``. Whoever made the change waits for the
receivers: leave long work to a queue.
"""


def send_on_commit(using: str, delivery: Any, **news: Any) -> None:
    """Tell the receivers once the transaction that is open on this database is committed."""
    send = partial(status_changed.send_robust, type(delivery), delivery=delivery, **news)
    transaction.on_commit(send, using=using, robust=True)
