"""Read the status feed of an upstream gateway, and bring the statuses home.

The cursor moves in the transaction that writes down what it has passed, so a run that is killed at
any moment loses nothing and repeats nothing. One run at a time holds a feed; should two believe
that they do, the cursor lets only one of them write.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.db.models import Q, QuerySet
from django.utils import timezone

from instant_notifications import privacy, receipts, telemetry
from instant_notifications.conf import settings
from instant_notifications.exceptions import HandoverFailed, NotConfigured, NotificationError
from instant_notifications.gateways import BaseGateway, FeedItem, FeedPage, Receipt, gateways
from instant_notifications.models import Delivery, FeedCursor, primary
from instant_notifications.upkeep import Stop

T = TypeVar("T")

logger = logging.getLogger("instant_notifications")

FETCH_TIMEOUT: Final = 20.0
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries to reach the upstream, or the database."""
LONGEST_PAUSE: Final = 30.0
HOLD: Final = timedelta(seconds=90)
"""How long a feed is held without a sign of life."""
HOLD_LEFT: Final = timedelta(seconds=70)
"""More than a fetch and a pause together: with less, a sign of life is given before them."""
ASKED_AT_ONCE: Final = 50
"""Messages asked for one by one before what was heard is written down."""
UNREADABLE: Final = "unreadable"


class HeldByAnother(NotificationError):  # noqa: N818
    """Another run is reading this feed."""

    def __init__(self, until: datetime | None) -> None:
        sign = f" Without a sign of life it ends at {until:%H:%M:%S} UTC." if until else ""
        super().__init__(f"Another run is reading this feed.{sign}")


class HoldLost(NotificationError):  # noqa: N818
    """Somebody else has moved the cursor, or a commit was never confirmed."""

    def __init__(self) -> None:
        super().__init__(
            "This run no longer holds the feed, so it writes nothing more. What it has written is "
            "whole, and the next run goes on from there."
        )


class NoProgress(NotificationError):  # noqa: N818
    """The upstream keeps answering with what has been read already, or with nothing readable."""


class Stopped(Exception):  # noqa: N818
    """Somebody asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What came of one page."""

    number: int = 0
    """Everything up to here has been dealt with; 0 where nothing is numbered."""
    latest: int | None = None
    """The upstream's last number, where it says so."""
    known: int = 0
    """Statuses of messages of ours."""
    unknown: int = 0
    """Those of messages we do not know, which are kept aside."""
    unreadable: int = 0
    """Entries that cannot be read or written down, of which the place is kept aside."""
    missed: int = 0
    """Numbers that the upstream had given up before they were read."""


def sync(
    alias: str, *, begin: int | None = None, follow: float | None = None, stop: Stop
) -> Generator[Progress, None, None]:
    """Write the feed down page by page, from ``begin`` or where the last run ended, to its end.

    A page that cannot be written as a whole is written, and told, in parts. With ``follow``, go on
    at the end every so many seconds until ``stop`` is set. Raises ``HeldByAnother``, ``HoldLost``,
    ``NoProgress``, ``NotConfigured`` with what to set, or, unless it follows, what is still wrong
    after some patience.
    """
    gateway, endless = _readable(alias), follow is not None
    with suppress(Stopped), closing(_Hold(alias)) as hold:
        _Patience(stop, endless=endless).until_done(partial(hold.take, begin))
        patience = _Patience(stop, endless=endless, renew=hold.renew)
        while True:
            page = patience.until_done(partial(_next_page, gateway, hold.number))
            if _tells_something(page, hold.number):
                yield from _write_down(page, hold, patience)
            elif follow is None:
                return
            else:
                patience.rest(follow)


def preview(alias: str, *, begin: int | None = None, stop: Stop) -> Generator[Progress, None, None]:
    """What ``sync`` would do at this moment; nothing is written and nothing held."""
    gateway, patience = _readable(alias), _Patience(stop)
    with suppress(Stopped):
        number = patience.until_done(partial(_cursor, alias)) if begin is None else begin
        while True:
            page = patience.until_done(partial(_next_page, gateway, number))
            if not _tells_something(page, number):
                return
            known = patience.until_done(partial(_count_known, alias, page))
            progress = _progress(page, number, known=known)
            yield progress
            number = progress.number


def ask_for_each(alias: str, *, stop: Stop) -> Generator[Progress, None, None]:
    """Ask for each message that still waits for its last word, where the feed cannot be read.

    It may be done anew, and by several at once: repeats change nothing. Raises as ``sync`` does.
    """
    gateway, patience = gateways[alias], _Patience(stop)
    if not gateway.answers_for_each:
        raise NotConfigured(f"Gateway {alias!r} cannot be asked for single messages.")
    waiting = Delivery.objects.using(primary()).filter(gateway=alias, completed_at=None)
    named = waiting.exclude(gateway_reference="").order_by("pk")
    after = UUID(int=0)
    with suppress(Stopped):
        while batch := _batch(named.filter(pk__gt=after), patience):
            heard = []
            for _, reference in batch:
                ask = partial(gateway.look_up, reference, timeout=FETCH_TIMEOUT)
                heard.append((reference, patience.until_done(ask)))
            said = [each for reference, each in heard if each and _is_about(each, reference)]
            patience.until_done(partial(_record, alias, said))
            unknown = sum(each is None for _, each in heard)
            unreadable = len(heard) - len(said) - unknown
            progress = Progress(known=len(said), unknown=unknown, unreadable=unreadable)
            _count(alias, progress)
            yield progress
            after = batch[-1][0]


def last_number(alias: str, *, stop: Stop) -> int:
    """The number of the feed's newest entry. Raises ``Stopped``, and otherwise as ``sync`` does."""
    gateway = _readable(alias)
    return _Patience(stop).until_done(partial(gateway.last_number, timeout=FETCH_TIMEOUT))


def gateways_with_feed() -> Sequence[str]:
    return [alias for alias in settings.GATEWAYS if gateways[alias].has_feed]


def _readable(alias: str) -> BaseGateway:
    gateway = gateways[alias]
    if not gateway.has_feed:
        raise NotConfigured(f"Gateway {alias!r} has no feed that could be read.")
    return gateway


def _cursor(alias: str) -> int:
    cursors = FeedCursor.objects.using(primary()).filter(pk=alias)
    return cursors.values_list("number", flat=True).first() or 0


def _next_page(gateway: BaseGateway, after: int) -> FeedPage:
    """What comes after that number, in order; whatever has been read already is left out."""
    page = gateway.read_feed(after, timeout=FETCH_TIMEOUT)
    if page.latest is not None and page.latest < after:
        raise NoProgress(
            f"The feed of gateway {gateway.alias!r} ends at {page.latest} but was read up to "
            f"{after}, so it is not the same feed any more. Say where to begin in this one."
        )
    new = _in_order([item for item in page.items if item.number is None or item.number > after])
    if page.items and not _numbers(new):
        raise NoProgress(
            f"The feed of gateway {gateway.alias!r} gives nothing that can be placed after {after}."
        )
    return replace(page, items=new)


def _in_order(items: Iterable[FeedItem]) -> Sequence[FeedItem]:
    """By number; one without a number stays behind the one that it came after."""
    last, placed = 0, []
    for item in items:
        last = last if item.number is None else item.number
        placed.append((last, item))
    return [item for _, item in sorted(placed, key=itemgetter(0))]


def _numbers(items: Iterable[FeedItem]) -> Sequence[int]:
    return [item.number for item in items if item.number is not None]


def _receipts_of(page: FeedPage) -> Sequence[Receipt]:
    return [receipt for item in page.items for receipt in item.receipts]


def _count_known(alias: str, page: FeedPage) -> int:
    return sum(map(bool, receipts.find_all(alias, _receipts_of(page))))


def _missed(page: FeedPage, before: int) -> int:
    """How many numbers after the cursor can no longer be read; a feed never read has none."""
    if not before or page.oldest is None:
        return 0
    first = min([page.oldest, *_numbers(page.items)])
    return max(0, first - before - 1)


def _tells_something(page: FeedPage, before: int) -> bool:
    return bool(page.items or _missed(page, before))


def _progress(page: FeedPage, before: int, *, known: int) -> Progress:
    missed = _missed(page, before)
    return Progress(
        number=max(_numbers(page.items), default=before + missed),
        latest=page.latest,
        known=known,
        unknown=len(_receipts_of(page)) - known,
        unreadable=sum(not item.receipts for item in page.items),
        missed=missed,
    )


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
                raise Stopped
            try:
                self.renew()
                return call()
            except (HandoverFailed, OperationalError, InterfaceError) as error:
                if pause is None:
                    raise
                self._wait_out(error, pause)
        raise AssertionError("the pauses end with a raise, or never")

    def _wait_out(self, error: Exception, pause: float) -> None:
        """So long as the upstream asks for, but never shorter than ``pause``."""
        wait = max(pause, getattr(error, "retry_after", None) or 0)
        reason = getattr(error, "reason", type(error).__name__)
        logger.warning("feed sync waits seconds=%.0f reason=%s", wait, reason)
        self.rest(wait)

    def rest(self, seconds: float) -> None:
        """So long, with signs of life in between."""
        while seconds > LONGEST_PAUSE:
            self._sleep(LONGEST_PAUSE)
            self.until_done(lambda: None)
            seconds -= LONGEST_PAUSE
        self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        connection = connections[primary()]
        if not connection.in_atomic_block:  # that one is somebody else's
            connection.close_if_unusable_or_obsolete()
        self.stop.wait(seconds)


def _batch(waiting: QuerySet[Delivery], patience: _Patience) -> Sequence[tuple[UUID, str]]:
    rows = waiting.values_list("pk", "gateway_reference")[:ASKED_AT_ONCE]
    return patience.until_done(lambda: list(rows.all()))


def _count(alias: str, progress: Progress) -> None:
    for result in ("known", "unknown", "unreadable", "missed"):
        telemetry.FEED_ENTRIES.add(getattr(progress, result), gateway=alias, result=result)


def _is_about(said: Receipt, reference: str) -> bool:
    return bool(said.word) and said.gateway_reference == reference


def _record(alias: str, said: Sequence[Receipt]) -> None:
    with transaction.atomic(using=primary()):
        receipts.record_receipts(alias, said)


class _Hold:
    """The cursor of a feed, held by this run and by no other.

    A dead run's hold ends by itself, or at once where its process can be seen to be gone.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._me = f"{_HOST}/{os.getpid()}/{uuid4().hex}"
        self.number = 0
        self._held_until = timezone.now()

    def take(self, begin: int | None) -> None:
        """Hold it, and go on from ``begin`` or from where it is; ``HeldByAnother`` if one does."""
        FeedCursor.objects.using(primary()).get_or_create(gateway=self._alias)
        row = self._rows().get()
        free = Q(holder__in=["", self._me]) | Q(held_until__lt=timezone.now())
        if _is_gone(row.holder):
            free |= Q(holder=row.holder)
        columns = {} if begin is None else {"number": begin}
        _holding.add(self._me)
        try:
            self._held_until = self._hold(self._rows().filter(free), holder=self._me, **columns)
        except HoldLost:
            raise HeldByAnother(row.held_until) from None
        self.number = self._rows().get().number

    def close(self) -> None:
        _holding.discard(self._me)
        with suppress(DatabaseError, InterfaceError):  # then it ends by itself
            self._mine().update(holder="", held_until=None)

    def renew(self) -> None:
        """Unless each page that is written does so often enough."""
        if timezone.now() > self._held_until - HOLD_LEFT:
            self._held_until = self._hold(self._mine())

    def write(self, page: FeedPage) -> Progress | None:
        """Write a page and the cursor down, both or neither; ``None`` if it can be only in parts.

        An entry alone that cannot be written is kept aside by its place, as is one unreadable.
        """
        try:
            with telemetry.span("feed_page", gateway=self._alias, entries=len(page.items)):
                return self._write(page, UNREADABLE)
        except Exception as error:
            if not _may_be_of_one_entry(error):
                raise
            logger.error(  # noqa: TRY400
                "feed page not written gateway=%s error=%s", self._alias, privacy.place_of(error)
            )
            if len(page.items) > 1:
                return None
            nothing = [replace(item, receipts=()) for item in page.items]
            return self._write(replace(page, items=nothing), type(error).__name__)

    def _write(self, page: FeedPage, why: str) -> Progress:
        with transaction.atomic(using=primary()):
            receipts.keep_aside(self._alias, _unreadable(page, self.number, why))
            known = receipts.record_receipts(self._alias, _receipts_of(page))
            progress = _progress(page, self.number, known=known)
            held_until = self._hold(
                self._mine().filter(number=self.number),
                number=progress.number,
                read_at=timezone.now(),
            )
        self.number, self._held_until = progress.number, held_until
        _count(self._alias, progress)
        logger.info(
            "feed read gateway=%s number=%d known=%d unknown=%d unreadable=%d missed=%d",
            self._alias,
            progress.number,
            progress.known,
            progress.unknown,
            progress.unreadable,
            progress.missed,
        )
        return progress

    def _hold(self, rows: QuerySet[FeedCursor], **columns: Any) -> datetime:
        """Until when, now; a rollback makes that untrue."""
        held_until = timezone.now() + HOLD
        if not rows.update(held_until=held_until, **columns):
            raise HoldLost
        return held_until

    def _mine(self) -> QuerySet[FeedCursor]:
        return self._rows().filter(holder=self._me)

    def _rows(self) -> QuerySet[FeedCursor]:
        return FeedCursor.objects.using(primary()).filter(pk=self._alias)


_HOST: Final = socket.gethostname()

_holding: Final[set[str]] = set()
"""The holds of this process's own runs, in whatever thread."""


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


def _write_down(page: FeedPage, hold: _Hold, patience: _Patience) -> Iterator[Progress]:
    """As a whole or else by halves, so that an entry that cannot be written stops no other.

    Each part is a transaction of its own: one that held what another part needs would lock out
    those who send.
    """
    progress = patience.until_done(partial(hold.write, page))
    if progress:
        yield progress
        return
    middle = len(page.items) // 2
    for items in (page.items[:middle], page.items[middle:]):
        yield from _write_down(replace(page, items=items), hold, patience)


def _may_be_of_one_entry(error: Exception) -> bool:
    """Not so what would hit every other entry as well: the database, its tables, the hold."""
    if isinstance(error, (DataError, IntegrityError)):
        return True
    return not isinstance(error, (DatabaseError, InterfaceError, NotificationError))


def _unreadable(page: FeedPage, before: int, why: str) -> Iterator[Receipt]:
    """The place of each entry that cannot be read; what it holds may be personal."""
    last, since = before, 0
    for item in page.items:
        last, since = (last, since + 1) if item.number is None else (item.number, 0)
        if not item.receipts:
            place = f"{since} after {last}" if since else str(last)
            yield Receipt(reference=f"feed entry {place}", word=why)
