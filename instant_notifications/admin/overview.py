"""The overview: how things go, and what waits for somebody."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.contrib.admin.exceptions import NotRegistered
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications import charts
from instant_notifications.admin import drawing
from instant_notifications.admin.filters import DOUBT, DUE, LATER
from instant_notifications.admin.gateways import Standing, standings
from instant_notifications.admin.guard import REASONS
from instant_notifications.admin.reading import Page
from instant_notifications.admin.words import duration
from instant_notifications.charts import sums, waiting
from instant_notifications.charts.queue import Queue, queue
from instant_notifications.guard.refusals import refusals_since
from instant_notifications.models import FeedCursor, Shipment, UnmatchedReceipt, primary
from instant_notifications.statuses import Outcome, Stage

Words = str | Promise


@dataclass(frozen=True, slots=True)
class View:
    """How a span is offered, and its clock written."""

    name: str
    label: Words
    tick: timedelta
    clock: Words


VIEWS: Final = (
    View("hour", _("Last hour"), timedelta(minutes=15), "H:i"),
    View("day", _("Last 24 hours"), timedelta(hours=3), "H:i"),
    # Translators: a date in Django's own format, as in "Wed 21".
    View("week", _("Last 7 days"), timedelta(days=1), _("D j")),
)
DEFAULT: Final = VIEWS[1]


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted, what it is called, and how its blocks are filled."""

    key: str
    label: Words
    fill: str


HANDOVERS: Final = (
    Series(Outcome.TAKEN, _("taken"), "good"),
    Series(Outcome.REFUSED, _("refused"), "bad"),
    Series(Outcome.NOT_SENT, _("not sent"), "idle"),
    Series(Outcome.UNKNOWN, _("in doubt"), "doubt"),
)
ENDS: Final = (
    Series(Stage.DELIVERED.value, _("delivered"), "good"),
    Series(Stage.FAILED.value, _("failed"), "bad"),
    Series(Stage.EXPIRED.value, _("expired"), "idle"),
)

PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LIMITS: Final = (1.0, 10.0)
MOST_REASONS: Final = 10

WAITING: Final[Mapping[str, tuple[Words, type[Model], str]]] = {
    "lapsed": (_("Hand-overs whose worker has not come back"), Shipment, Stage.SENDING.value),
    "overdue": (_("Messages past their expiry without a last word"), Shipment, Stage.EXPIRED.value),
    "in_doubt": (_("Messages that may or may not have been sent"), Shipment, DOUBT),
    "unmatched": (_("Receipts that match no message"), UnmatchedReceipt, ""),
}
"""What may wait for somebody, and the list, or the group of it, where it is looked for."""


TOO_LONG: Final = timedelta(minutes=5)
"""What is due longer than this waits for somebody."""

QUEUE: Final[Mapping[str, tuple[Words, Words, str]]] = {
    "due": (
        _("Due now"),
        _("If it does not shrink, start more workers. Without process_due_orders nobody comes."),
        DUE,
    ),
    "stuck": (
        _("Stuck: a queue was told, but no worker came"),
        _("See whether workers and their queue are running; process_due_orders tells them again."),
        DUE,
    ),
    "later": (_("Waiting for their time"), _("Nothing: they become due by themselves."), LATER),
    "taken_a_minute": (
        _("Taken by gateways in the last minute"),
        _("If it is none while something is due, look at the gateways below."),
        "",
    ),
}
"""What there is to say of regular orders, what to do about it, and the group to look for it in."""

_IS_BAD: Final[Mapping[str, Callable[[Queue], bool]]] = {
    "due": lambda state: state.oldest is not None and state.oldest > TOO_LONG,
    "stuck": lambda state: state.stuck.number > 0,
}


class FiguresAdmin(Page):
    """Its list is the overview."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        view = next((each for each in VIEWS if each.name == request.GET.get("span")), DEFAULT)
        course = charts.course(charts.SPANS[view.name], now)
        total = course.total
        handovers = [period.sums.outcomes for period in course.periods]
        ends = [period.sums.ends for period in course.periods]
        context = {
            **(extra_context or {}),
            "title": _("Overview"),
            "views": VIEWS,
            "view": view,
            "course": course,
            "handovers": _volume(HANDOVERS, handovers, course, view),
            "ends": _volume(ENDS, ends, course, view),
            "times": [
                _times(
                    "handover", _("From the request until a gateway took it"), total.handover_times
                ),
                _times(
                    "delivery", _("From the request until it had arrived"), total.delivery_times
                ),
            ],
            "percentiles": PERCENTILES,
            "limits": [drawing.duration(each) for each in LIMITS],
            "reasons": (reasons := _reasons(total)),
            "other_reasons": total.reasons.total() - sum(each.number for each in reasons),
            "refusals": [
                (REASONS.get(reason, reason), number)
                for reason, number in refusals_since(course.periods[0].began_at).items()
            ],
            "health": list(_health(total)),
            "feeds": FeedCursor.objects.using(primary()).order_by("gateway"),
            "now": now,
            "waiting": list(self._waiting(request, now)),
            "queued": list(self._queued(request, state := queue(now))),
            "oldest": duration(state.oldest) if state.oldest else "",
            "first": self._story_of(request, state.first),
        }
        return self.show(request, "change_list.html", **context)

    def _waiting(
        self, request: HttpRequest, now: datetime
    ) -> Iterator[tuple[Words, waiting.Count, str]]:
        """What waits, how many, and where to look for them."""
        for name, count in waiting.counts(now).items():
            label, model, group = WAITING[name]
            page = self._list_of(model, request)
            yield label, count, f"{page}?group={group}" if page and group else page

    def _queued(self, request: HttpRequest, state: Queue) -> Iterator["Queued"]:
        """How the working off of regular orders stands; nothing where nothing waits."""
        if not any(each.number for each in (state.due, state.stuck, state.later)):
            return
        page = self._list_of(Shipment, request)
        for name, (label, advice, group) in QUEUE.items():
            yield Queued(
                label=label,
                count=getattr(state, name),
                advice=advice,
                page=f"{page}?group={group}" if page and group else "",
                is_bad=name in _IS_BAD and _IS_BAD[name](state),
            )

    def _story_of(self, request: HttpRequest, shipment_id: UUID | None) -> str:
        """Its address, for those who may look."""
        if shipment_id is None or not self._list_of(Shipment, request):
            return ""
        return self.story_of(shipment_id)

    def _list_of(self, model: type[Model], request: HttpRequest) -> str:
        """Its address, for those who may look, where the host's site has it at all."""
        try:
            may_look = self.admin_site.get_model_admin(model).has_view_permission(request)
        except NotRegistered:
            return ""
        page = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        return reverse(page, current_app=self.admin_site.name) if may_look else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A figure of the queue."""

    label: Words
    count: waiting.Count
    advice: Words
    page: str
    """Where to look for them, for those who may."""
    is_bad: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """How many of what in each period, as a picture and in figures."""

    series: Sequence[tuple[Series, int]]
    """With their totals."""
    rows: Sequence[tuple[datetime, Sequence[int]]]
    chart: drawing.Chart

    @property
    def is_empty(self) -> bool:
        return not any(total for _, total in self.series)


def _volume(
    series: Sequence[Series], counts: Sequence[Mapping[str, int]], course: charts.Course, view: View
) -> Volume:
    begins = [period.began_at for period in course.periods]
    rows = [[each.get(one.key, 0) for one in series] for each in counts]
    stacks = [
        (
            _label(began_at, series, numbers),
            {one.fill: n for one, n in zip(series, numbers, strict=True)},
        )
        for began_at, numbers in zip(begins, rows, strict=True)
    ]
    marks = drawing.clock_marks(begins, charts.SPANS[view.name].step, view.tick, str(view.clock))
    return Volume(
        series=[(one, sum(each.get(one.key, 0) for each in counts)) for one in series],
        rows=list(zip(begins, rows, strict=True)),
        chart=drawing.stacked(stacks, marks),
    )


def _label(began_at: datetime, series: Sequence[Series], numbers: Sequence[int]) -> str:
    """What a bar says of itself, a line for each thing that there is any of."""
    told = [
        _("%(what)s: %(number)s") % {"what": one.label, "number": drawing.count(number)}
        for one, number in zip(series, numbers, strict=True)
        if number
    ]
    return "\n".join([date_format(timezone.localtime(began_at), "SHORT_DATETIME_FORMAT"), *told])


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, as a picture and in figures."""

    name: str
    title: Words
    number: int
    percentiles: Sequence[str]
    shares: Sequence[str]
    rows: Sequence[tuple[str, int]]
    """Up to how long, and how many did."""
    chart: drawing.Chart | None


def _times(name: str, title: Words, cells: sums.Cells) -> Times:
    if not cells:
        return Times(name, title, 0, (), (), (), None)
    flags = {each: sums.percentile(cells, share) for each, share in PERCENTILES.items()}
    return Times(
        name=name,
        title=title,
        number=cells.total(),
        percentiles=[drawing.duration(seconds) for seconds in flags.values()],
        shares=[_share(sums.number_under(cells, limit), cells.total()) for limit in LIMITS],
        rows=[(drawing.duration(sums.end_of(cell)), cells[cell]) for cell in sorted(cells)],
        chart=drawing.distribution(cells, flags),
    )


def _share(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all of them."""
    return _("%(number)s %%") % {"number": number_format(1000 * part // whole / 10, 1)}


@dataclass(frozen=True, slots=True)
class Reason:
    status: str
    gateway: str
    word: str
    number: int
    percent: float
    """Of the most frequent."""


def _reasons(total: sums.Sums) -> Sequence[Reason]:
    named = total.reasons.copy()
    named.pop(sums.OTHER, None)
    top = named.most_common(MOST_REASONS)
    return [Reason(*reason, number, 100 * number / top[0][1]) for reason, number in top]


@dataclass(frozen=True, slots=True)
class Health:
    """How a gateway stands now, and how it has fared."""

    standing: Standing
    calls: int
    failed: str
    """The share that was not sent or is in doubt; a refusal speaks of the message."""


def _health(total: sums.Sums) -> Iterator[Health]:
    for standing in standings():
        fared = {each.key: total.calls[standing.alias, each.key] for each in HANDOVERS}
        calls = sum(fared.values())
        faults = fared[Outcome.NOT_SENT] + fared[Outcome.UNKNOWN]
        yield Health(standing, calls, _share(faults, calls) if calls else "")
