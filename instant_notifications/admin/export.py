"""Shipments as a file: those that were checked, or all that match the filters."""

import csv
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy
from instant_notifications.admin.lists import ListPage, Sought
from instant_notifications.admin.reading import reason, uuids
from instant_notifications.feed import plan_of, status_of
from instant_notifications.models import Delivery, Shipment, release_pooled_connection

CHUNK: Final = 1000

Show = Callable[[str | None], str]
"""A destination as it stands in the file."""

Columns = Mapping[str, Callable[[Delivery], object]]
"""What is read of a delivery, by the column's name."""


def masked(destination: str | None) -> str:
    return privacy.mask(destination) if destination else ""


def in_clear(destination: str | None) -> str:
    """Nothing for what has been erased, or what no key opens any more."""
    return destination or ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported."""

    sought: Sought
    told: str
    """For the log: how many, or by which filters."""
    keys: Sequence[UUID] = ()
    filters: str = ""


class ExportPage(ListPage):
    """The list, with its actions and buttons to export."""

    actions: Sequence[Any] = ("export_masked", "export_in_clear")

    def get_urls(self) -> list[URLPattern]:
        return [self.posted(self.export, "export", action="export"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = {
            "may_export": self.has_export_permission(request),
            "may_export_in_clear": self.has_export_in_clear_permission(request),
        }
        return super().changelist_view(request, {**(extra_context or {}), **may})

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "export")

    def has_export_in_clear_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "export") and self.may(request, "reveal")

    @admin.action(permissions=["export"], description=_("Export as CSV (masked)"))
    def export_masked(self, request: HttpRequest, chosen: QuerySet[Shipment]) -> HttpResponseBase:  # noqa: ARG002
        return self._export_masked(request, self._checked(request))

    @admin.action(
        permissions=["export_in_clear"], description=_("Export as CSV, destinations in clear")
    )
    def export_in_clear(self, request: HttpRequest, chosen: QuerySet[Shipment]) -> HttpResponseBase:  # noqa: ARG002
        return self._export_in_clear(request, self._checked(request))

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Of the shipments that the form names, or else of all that match the address's filters."""
        try:
            some = ACTION_CHECKBOX_NAME in request.POST
            selection = self._checked(request) if some else self._filtered(request)
        except IncorrectLookupParameters:
            return self.to("changelist")
        if "in_clear" in request.POST:
            return self._export_in_clear(request, selection)
        return self._export_masked(request, selection)

    def _checked(self, request: HttpRequest) -> Selection:
        """As they were checked, even if what the list was filtered by has changed since."""
        keys = uuids(request.POST.getlist(ACTION_CHECKBOX_NAME))
        if not keys:
            raise IncorrectLookupParameters
        shipments = self.get_queryset(request).filter(pk__in=keys)
        told = f"checked shipments ({len(keys)})"
        return Selection(Sought(shipments, shipments), told, keys=keys)

    def _filtered(self, request: HttpRequest) -> Selection:
        listed = self.listed(request)
        filters = urlencode(listed.get_filters_params(), doseq=True)
        told = f"all that match {filters}" if filters else "all shipments"
        return Selection(listed.sought, told, filters=filters)

    def _export_masked(self, request: HttpRequest, selection: Selection) -> HttpResponseBase:
        _log(request, f"Exported {selection.told}, destinations masked.")
        return _file(request, lines(selection.sought, masked))

    def _export_in_clear(self, request: HttpRequest, selection: Selection) -> HttpResponseBase:
        if not self.has_export_in_clear_permission(request):
            raise PermissionDenied
        because = reason(request)
        if not because:
            return self._ask_why(request, selection)
        _log(request, f"Exported {selection.told}, destinations in clear: {because}")
        return _file(request, lines(selection.sought, in_clear))

    def _ask_why(self, request: HttpRequest, selection: Selection) -> HttpResponse:
        return self.show(
            request,
            "export.html",
            title=_("Export destinations in clear"),
            selection=selection,
            is_missing="because" in request.POST,
            field=ACTION_CHECKBOX_NAME,
        )


def _log(request: HttpRequest, message: str) -> None:
    LogEntry.objects.create(
        user_id=str(request.user.pk),
        content_type=ContentType.objects.get_for_model(Shipment),
        object_repr="shipments",
        action_flag=CHANGE,
        change_message=message,
    )


def _file(request: HttpRequest, pieces: Iterator[str]) -> StreamingHttpResponse:
    name = f"shipments-{timezone.now():%Y%m%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        _one_by_one(pieces) if isinstance(request, ASGIRequest) else pieces,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _one_by_one(pieces: Iterator[str]) -> AsyncIterator[str]:
    """Under ASGI Django would gather the whole file before it sends the first byte."""
    proceed = sync_to_async(lambda: next(pieces, ""))
    while piece := await proceed():
        yield piece


def lines(sought: Sought, show: Show) -> Iterator[str]:
    """The file, piece by piece: one line for each delivery of each shipment, the newest first, or
    one for a shipment of a regular order that has none.

    Each piece asks for a bounded stretch and then lets the connection go, so that a slow reader
    holds nothing. It begins with a byte order mark: without one Excel takes UTF-8 for something
    else, and who reads CSV by program says ``utf-8-sig``.
    """
    columns = _columns(show)
    yield "\ufeff" + _written([list(columns)])
    start: UUID | None = None
    while True:
        found = sought.find("before", start, CHUNK)
        release_pooled_connection()
        rows = [row for one in found.shipments for row in _rows(one, columns)]
        if rows:
            yield _written(rows)
        start = found.shipments[-1].pk if found.goes_on else found.looked_to
        if start is None:
            return


def _rows(shipment: Shipment, columns: Columns) -> Iterator[Sequence[object]]:
    deliveries = shipment.deliveries.all()
    for each in deliveries:
        yield [read(each) for read in columns.values()]
    if not deliveries and plan_of(shipment):
        told = _planned(shipment)
        yield [told.get(name, "") for name in columns]


def _planned(shipment: Shipment) -> Mapping[str, object]:
    """What there is to say of one that is only planned; its status is a word for orders."""
    return {
        "shipment": shipment.pk,
        "order": shipment.order_id,
        "creator": shipment.creator,
        "kind": shipment.type,
        "senders_reference": shipment.senders_reference,
        "status": status_of(shipment, (), timezone.now()),
        "created": _iso(shipment.created_at),
        "completed": _iso(shipment.plan.ended_at),
        "due": _iso(shipment.plan.due_at),
    }


def _columns(show: Show) -> Columns:
    """Their names are for programs too, and so not translated."""
    return {
        "shipment": lambda delivery: delivery.shipment_id,
        "order": lambda delivery: delivery.shipment.order_id,
        "creator": lambda delivery: delivery.shipment.creator,
        "kind": lambda delivery: delivery.shipment.type,
        "senders_reference": lambda delivery: delivery.shipment.senders_reference,
        "channel": lambda delivery: delivery.channel,
        "destination": lambda delivery: show(delivery.destination),
        "status": lambda delivery: delivery.status_at(timezone.now()),
        "gateway": lambda delivery: delivery.gateway,
        "gateway_reference": lambda delivery: delivery.gateway_reference,
        "parts": lambda delivery: delivery.segments,
        "attempts": lambda delivery: delivery.attempts,
        "created": lambda delivery: _iso(delivery.created_at),
        "handover": lambda delivery: delivery.handover,
        "completed": lambda delivery: _iso(delivery.completed_at),
        "expires": lambda delivery: _iso(delivery.expires_at),
        "due": lambda delivery: _iso(delivery.due_at),
    }


def _iso(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds") if moment else ""


def _written(rows: Any) -> str:
    text = StringIO()
    # Quoted throughout: where a spreadsheet separates by ";", one within a cell ends nothing.
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([_defused(cell) for cell in row] for row in rows)
    return text.getvalue()


def _defused(cell: object) -> str:
    """A spreadsheet must not take what others wrote for a formula (OWASP: CSV injection)."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_BEGINS_A_FORMULA) else text


_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
