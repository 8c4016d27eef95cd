"""Read the status feed of an upstream gateway, and bring the statuses home.

The cursor moves in the transaction that writes down what it has passed, so a run that is killed at
any moment loses nothing and repeats nothing. One run at a time holds a feed; should two believe
that they do, the cursor lets only one of them write.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from instant_notifications import privacy, receipts
from instant_notifications.conf import settings
from instant_notifications.exceptions import HandoverFailed, NotConfigured, NotificationError
from instant_notifications.gateways import BaseGateway, FeedItem, FeedPage, Receipt, gateways
from instant_notifications.models import FeedCursor, primary
from instant_notifications.upkeep import Stop

T = TypeVar("T")

logger = logging.getLogger("instant_notifications")

FETCH_TIMEOUT: Final = 20.0
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries to reach the upstream, or the database."""
LONGEST_PAUSE: Final = 30.0
HOLD: Final = timedelta(seconds=90)
"""How long a feed is held without a sign of life: more than a fetch and a pause together."""


class HeldByAnother(NotificationError):  # noqa: N818
    """Another run is reading this feed."""

    def __init__(self, until: datetime | None) -> None:
        sign = f" Without a sign of life it ends at {until:%H:%M:%S} UTC." if until else ""
        super().__init__(f"Another run is reading this feed.{sign}")


class NoProgress(NotificationError):  # noqa: N818
    """The upstream keeps answering with what has been read already, or with nothing readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What came of one page."""

    number: int
    """Everything up to here has been dealt with."""
    latest: int | None = None
    """The upstream's last number, where it says so."""
    known: int = 0
    """Statuses of messages of ours."""
    unknown: int = 0
    """Those of messages we do not know, which are kept aside."""
    unreadable: int = 0
    """Entries that cannot be read or written down, which are kept aside."""
    missed: int = 0
    """Numbers that the upstream had given up before they were read."""


def sync(
    alias: str, *, begin: int | None = None, follow: float | None = None, stop: Stop
) -> Generator[Progress, None, None]:
    """Write the feed down page by page, from ``begin`` or where the last run ended, to its end.

    With ``follow``, go on from there every so many seconds until ``stop`` is set. Raises
    ``HeldByAnother``, ``NotConfigured`` with what to set, ``NoProgress``, or, unless it follows,
    what is still wrong after some patience.
    """
    gateway = _readable(alias)
    with _Hold(alias) as hold, suppress(_Stopped):
        patience = _Patience(stop, endless=follow is not None, renew=hold.renew)
        if begin is not None:
            hold.move(begin)
        while True:
            page = patience.until_done(partial(_next_page, gateway, hold.number))
            if page.items:
                yield patience.until_done(partial(hold.write, page))
            elif follow is None:
                return
            else:
                patience.rest(follow)


def preview(alias: str, *, begin: int | None = None, stop: Stop) -> Generator[Progress, None, None]:
    """What ``sync`` would do at this moment; nothing is written and nothing held."""
    gateway, patience = _readable(alias), _Patience(stop)
    cursors = FeedCursor.objects.using(primary()).filter(pk=alias)
    number = begin if begin is not None else cursors.values_list("number", flat=True).first() or 0
    with suppress(_Stopped):
        while (page := patience.until_done(partial(_next_page, gateway, number))).items:
            known = len(receipts.find_all(alias, _receipts_of(page)))
            progress = _progress(page, number, known=known)
            yield progress
            number = progress.number


def last_number(alias: str, *, stop: Stop) -> int:
    """The number of the feed's newest entry."""
    gateway = _readable(alias)
    return _Patience(stop).until_done(partial(gateway.last_number, timeout=FETCH_TIMEOUT))


def gateways_with_feed() -> Sequence[str]:
    return [alias for alias in settings.GATEWAYS if gateways[alias].has_feed]


def _readable(alias: str) -> BaseGateway:
    gateway = gateways[alias]
    if not gateway.has_feed:
        raise NotConfigured(f"Gateway {alias!r} has no feed that could be read.")
    return gateway


def _next_page(gateway: BaseGateway, after: int) -> FeedPage:
    """What comes after that number; whatever has been read already is left out."""
    page = gateway.read_feed(after, timeout=FETCH_TIMEOUT)
    new = [item for item in page.items if item.number is None or item.number > after]
    if page.items and all(item.number is None for item in new):
        raise NoProgress(
            f"The feed of gateway {gateway.alias!r} gives nothing that can be placed after {after}."
        )
    return replace(page, items=new)


def _receipts_of(page: FeedPage) -> Sequence[Receipt]:
    return [receipt for item in page.items for receipt in item.receipts]


def _progress(page: FeedPage, before: int, *, known: int, failed: int = 0) -> Progress:
    return Progress(
        number=max(item.number or 0 for item in page.items),
        latest=page.latest,
        known=known,
        unknown=len(_receipts_of(page)) - known - failed,
        unreadable=sum(not item.receipts for item in page.items) + failed,
        missed=max(0, page.oldest - before - 1) if before and page.oldest else 0,
    )


class _Stopped(Exception):  # noqa: N818
    """Somebody asked to stop."""


@dataclass(frozen=True, slots=True)
class _Patience:
    """With the upstream, the network and the database: they come back."""

    stop: Stop
    endless: bool = False
    renew: Callable[[], None] = lambda: None
    """A sign of life, to be given more often than ``HOLD``."""

    def until_done(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, tried again after growing pauses."""
        for pause in chain(PAUSES, repeat(LONGEST_PAUSE) if self.endless else [None]):
            if self.stop.is_set():
                raise _Stopped
            try:
                self.renew()
                return call()
            except (HandoverFailed, OperationalError, InterfaceError) as error:
                if pause is None:
                    raise
                self._wait_out(error, pause)
        raise AssertionError("the pauses end with a raise, or never")

    def _wait_out(self, error: Exception, pause: float) -> None:
        asked = getattr(error, "retry_after", None) or 0
        reason = getattr(error, "reason", type(error).__name__)
        logger.warning("feed sync waits %.0f s: %s", max(pause, asked), reason)
        if not connections[primary()].in_atomic_block:
            connections[primary()].close_if_unusable_or_obsolete()
        self._sleep(max(pause, min(asked, LONGEST_PAUSE)))

    def rest(self, seconds: float) -> None:
        """So long, with signs of life in between."""
        while seconds > 0:
            self._sleep(min(seconds, LONGEST_PAUSE))
            seconds -= LONGEST_PAUSE
            if seconds > 0:
                self.until_done(lambda: None)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopped


class _Hold:
    """The cursor of a feed, held by this run and by no other.

    A dead run's hold ends by itself, or at once where its process can be seen to be gone.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._me = f"{_HOST}/{os.getpid()}/{uuid4().hex}"
        self.number = 0

    def __enter__(self) -> Self:
        FeedCursor.objects.using(primary()).get_or_create(gateway=self._alias)
        row = self._rows().get()
        free = Q(holder="") | Q(held_until__lt=timezone.now())
        if _is_gone(row.holder):
            free |= Q(holder=row.holder)
        if not self._rows().filter(free).update(holder=self._me, held_until=_until()):
            raise HeldByAnother(row.held_until)
        _holding.add(self._me)
        self.number = self._rows().get().number
        return self

    def __exit__(self, *error: object) -> None:
        _holding.discard(self._me)
        with suppress(DatabaseError, InterfaceError):  # then it ends by itself
            self._mine().update(holder="", held_until=None)

    def renew(self) -> None:
        self._update(self._mine())

    def move(self, number: int) -> None:
        """Begin from here, whatever has been read."""
        self._update(self._mine(), number=number)
        self.number = number

    def write(self, page: FeedPage) -> Progress:
        """Write a page and the cursor down, both or neither."""
        with transaction.atomic(using=primary()):
            known, failed = _write_down(self._alias, page)
            progress = _progress(page, self.number, known=known, failed=failed)
            self._update(
                self._mine().filter(number=self.number),
                number=progress.number,
                read_at=timezone.now(),
            )
        self.number = progress.number
        logger.info(
            "feed read gateway=%s number=%d known=%d unknown=%d unreadable=%d",
            *(self._alias, progress.number, progress.known, progress.unknown, progress.unreadable),
        )
        return progress

    def _update(self, rows: QuerySet[FeedCursor], **columns: Any) -> None:
        if not rows.update(held_until=_until(), **columns):
            raise HeldByAnother(None)

    def _mine(self) -> QuerySet[FeedCursor]:
        return self._rows().filter(holder=self._me)

    def _rows(self) -> QuerySet[FeedCursor]:
        return FeedCursor.objects.using(primary()).filter(pk=self._alias)


_HOST: Final = socket.gethostname()

_holding: Final[set[str]] = set()
"""The holds of this process's own runs, in whatever thread."""


def _until() -> datetime:
    return timezone.now() + HOLD


def _is_gone(holder: str) -> bool:
    """Whether the run was one of this machine's, and its process is no more.

    A process that has our number and is not ours was here before us, as in a restarted container.
    """
    host, _, rest = holder.rpartition("/")[0].rpartition("/")
    if host != _HOST or not rest.isdecimal():
        return False
    if int(rest) == os.getpid():
        return holder not in _holding
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _write_down(alias: str, page: FeedPage) -> tuple[int, int]:
    """How many statuses belong to messages of ours, and how many could not be written down."""
    receipts.keep_aside(alias, _unreadable(page))
    try:
        with transaction.atomic(using=primary()):
            return receipts.record_receipts(alias, _receipts_of(page)), 0
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 (one of them; the others must not wait for it)
        logger.error("feed page not recorded: %s", privacy.place_of(error))  # noqa: TRY400
        return _write_down_each(alias, page)


def _write_down_each(alias: str, page: FeedPage) -> tuple[int, int]:
    known = failed = 0
    for item in page.items:
        try:
            with transaction.atomic(using=primary()):
                known += receipts.record_receipts(alias, item.receipts)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 (closed by default, entry by entry)
            kind = type(error).__name__
            receipts.keep_aside(alias, [Receipt(reference=_place(item), word=kind)])
            failed += len(item.receipts)
    return known, failed


def _unreadable(page: FeedPage) -> Sequence[Receipt]:
    """A note for each entry that cannot be read; what it holds may be personal."""
    last = max(item.number or 0 for item in page.items)
    return [
        Receipt(reference=_place(item, f"page to {last}, {place}."), word="unreadable")
        for place, item in enumerate(page.items, start=1)
        if not item.receipts
    ]


def _place(item: FeedItem, otherwise: str = "") -> str:
    return f"feed entry {otherwise if item.number is None else item.number}"
