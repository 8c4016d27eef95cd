"""The list of shipments: the newest first, and no slower for the millions behind them.

It turns pages by primary key and counts nothing. Whatever is asked for, a page looks at a bounded
number of shipments and says so where that was not enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import OuterRef, Prefetch, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy
from instant_notifications.admin import plans, words
from instant_notifications.admin.filters import FILTERS, IN_DOUBT, ChoiceFilter
from instant_notifications.admin.reading import Page, uuids
from instant_notifications.feed import plan_of, status_of
from instant_notifications.models import Delivery, Plan, Shipment
from instant_notifications.models.identifiers import made_at
from instant_notifications.statuses import STAGES, Handover
from instant_notifications.templatetags.console import when

LOOKS_THROUGH: Final = 20_000


@dataclass(frozen=True, slots=True)
class Way:
    """Through the list: in which order, and how keys compare to where one is."""

    order: str
    beyond: str
    up_to: str


WAYS: Final = {
    "before": Way(order="-pk", beyond="pk__lt", up_to="pk__gte"),
    "after": Way(order="pk", beyond="pk__gt", up_to="pk__lte"),
}
"""By the parameter of the address that names the key to go on from."""


@dataclass(frozen=True, slots=True)
class Found:
    shipments: Sequence[Shipment]
    """The newest first."""
    goes_on: bool
    looked_to: UUID | None
    """Where the looking stopped before it had found enough; ``None`` if it did not."""


@dataclass(frozen=True, slots=True)
class Sought:
    """The shipments that somebody asks for."""

    span: QuerySet[Shipment]
    """All of the time that is asked for: bounded by primary key and by nothing else."""
    matching: QuerySet[Shipment]
    """Those of them that are sought; the same one where there is no filter."""

    def find(self, direction: str, start: UUID | None, most: int) -> Found:
        """The nearest beyond ``start``."""
        way = WAYS[direction]
        beyond = {way.beyond: start} if start else {}
        last = self._last_to_look_at(way, beyond)
        within = {**beyond, way.up_to: last} if last else beyond
        # Both ends of the keys are constants, so that no planner can lose its way in the table.
        rows = list(self.matching.filter(**within).order_by(way.order)[: most + 1])
        goes_on = len(rows) > most
        nearest = rows[:most]
        return Found(
            shipments=nearest if direction == "before" else nearest[::-1],
            goes_on=goes_on,
            looked_to=None if goes_on else last,
        )

    def _last_to_look_at(self, way: Way, beyond: dict[str, UUID]) -> UUID | None:
        if self.matching is self.span:
            return None
        keys = self.span.filter(**beyond).prefetch_related(None).order_by(way.order)
        place = slice(LOOKS_THROUGH - 1, LOOKS_THROUGH)
        return next(iter(keys.values_list("pk", flat=True)[place]), None)


def narrowed(span: QuerySet[Shipment], filters: Sequence[Any], now: datetime) -> Sought:
    """What the filters ask for, each delivery filter of the same delivery.

    A shipment that is only planned has none: it is found where a filter speaks of plans, too, and
    nothing else is asked of a delivery.
    """
    of_shipment, of_delivery = Q(), Q()
    of_plan: Q | None = Q()
    for each in filters:
        if isinstance(each, ChoiceFilter) and (value := each.value()):
            of_shipment &= each.of_shipment(value)
            if asked := each.of_delivery(value, now):
                of_delivery &= asked
                planned = each.of_plan(value, now)
                of_plan = of_plan & planned if of_plan is not None and planned else None
    matching = span.filter(of_shipment) if of_shipment else span
    if of_delivery:
        matching = _with_hit(matching, Delivery, of_delivery, "hit")
        sought = Q(hit__isnull=False)
        if of_plan:
            matching = _with_hit(matching, Plan, of_plan, "planned")
            sought |= Q(planned__isnull=False)
        matching = matching.filter(sought)
    return Sought(span, matching)


def _with_hit(
    shipments: QuerySet[Shipment], model: type[Delivery] | type[Plan], asked: Q, name: str
) -> QuerySet[Shipment]:
    """Not EXISTS: a planner turns that into a join, and may then read all deliveries at once."""
    theirs = model._default_manager.filter(asked, shipment=OuterRef("pk")).values("pk")[:1]
    return shipments.alias(**{name: Subquery(theirs)})


class ShipmentList(ChangeList):
    """Django's own change list, with keys in place of page numbers."""

    sought: Sought

    def get_filters(self, request: HttpRequest) -> Any:
        """Nothing but our filters: any other lookup might read the whole table."""
        for name in WAYS:
            self.filter_params.pop(name, None)
        found = super().get_filters(request)
        if found[2]:
            raise IncorrectLookupParameters
        return found

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        span = super().get_queryset(request, exclude_parameters)
        self.sought = narrowed(span, self.filter_specs, timezone.now())
        return self.sought.matching

    def get_results(self, request: HttpRequest) -> None:  # noqa: ARG002
        self.direction, self.start = _cursor(self.params)
        self.found = self.sought.find(self.direction, self.start, self.list_per_page)
        self.result_list = rows = self.found.shipments
        # Nothing is counted: what is shown is all there is, as far as Django's templates can tell.
        self.result_count = self.full_result_count = len(rows)
        self.paginator = Paginator(rows, self.list_per_page)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = True

    @property
    def newest(self) -> str | None:
        return self.get_query_string() if self.start else None

    @property
    def newer(self) -> str | None:
        there_are = self.start if self.direction == "before" else self.found.goes_on
        return self._link("after", self.found.shipments[:1] if there_are else ())

    @property
    def older(self) -> str | None:
        there_are = self.direction == "after" or self.found.goes_on
        return self._link("before", self.found.shipments[-1:] if there_are else ())

    def _link(self, direction: str, at: Sequence[Shipment]) -> str | None:
        return self.get_query_string({direction: at[0].pk}) if at else None

    @property
    def further(self) -> str | None:
        return self.get_query_string({self.direction: self.found.looked_to})

    @property
    def looked_to(self) -> datetime | None:
        return made_at(self.found.looked_to) if self.found.looked_to else None

    @property
    def looks_through(self) -> str:
        return number_format(LOOKS_THROUGH, force_grouping=True)


def _cursor(parameters: dict[str, str]) -> tuple[str, UUID | None]:
    """Which way to go and from where; what is no key leads to the first page."""
    for direction in WAYS:
        if direction in parameters:
            try:
                return direction, UUID(parameters[direction])
            except ValueError:
                break
    return "before", None


class ListPage(Page):
    """How shipments are listed."""

    list_display = (
        "id",
        "created",
        "recipients",
        "gateways",
        "creator",
        "senders_reference",
        "order_status",
        "kind",
    )
    list_filter = FILTERS
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-pk",)

    def listed(self, request: HttpRequest) -> ShipmentList:
        """What the address asks for."""
        return cast("ShipmentList", self.get_changelist_instance(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        return ShipmentList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shipment]:
        """With what is shown of each. Not joined: no planner is to lose its way in the table."""
        deliveries = Delivery.objects.defer("content").order_by("pk")
        return (
            super()
            .get_queryset(request)
            .prefetch_related(Prefetch("deliveries", deliveries), Prefetch("plan", plans.lean()))
        )

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *more: Any, **named: Any
    ) -> HttpResponse | None:
        """Nothing for a forged choice: of a key that is none, or of more than was ticked."""
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        is_whole = len(uuids(chosen)) == len(chosen) and "1" not in request.POST.getlist(
            "select_across"
        )
        return super().response_action(request, queryset, *more, **named) if is_whole else None

    @admin.display(description=_("created"))
    def created(self, shipment: Shipment) -> SafeString | str:
        return when(shipment.created_at)

    @admin.display(description=_("kind"))
    def kind(self, shipment: Shipment) -> str:
        return str(words.TYPES[shipment.type])

    @admin.display(description=_("recipients"))
    def recipients(self, shipment: Shipment) -> SafeString:
        """Or, where there are none yet, what the shipment waits for."""
        now, deliveries = timezone.now(), shipment.deliveries.all()
        plan = None if deliveries else plan_of(shipment)
        if plan is not None:
            return format_html(
                '<span class="instant-delivery is-planned">{}</span>', plans.in_short(plan, now)
            )
        return format_html_join(" ", "{}", ((_sign(each, now),) for each in deliveries))

    @admin.display(description=_("gateway"))
    def gateways(self, shipment: Shipment) -> str:
        theirs = dict.fromkeys(each.gateway for each in shipment.deliveries.all() if each.gateway)
        return ", ".join(theirs)

    @admin.display(description=_("status"))
    def order_status(self, shipment: Shipment) -> str:
        return status_of(shipment, shipment.deliveries.all(), timezone.now())


def _sign(delivery: Delivery, now: datetime) -> SafeString:
    """To whom and how it stands, in a word; the colour only repeats it."""
    word = delivery.status_at(now)
    doubt = delivery.handover == Handover.UNKNOWN
    return format_html(
        '<span class="instant-delivery is-{}">{} {}{}</span>',
        STAGES[word].value,
        privacy.mask(delivery.destination),
        word,
        format_html(' <span class="is-doubt">{}</span>', IN_DOUBT) if doubt else "",
    )
