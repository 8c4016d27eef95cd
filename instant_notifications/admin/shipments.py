"""Shipments: find one, and read what became of it."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy, search
from instant_notifications.admin.reading import BoundedPaginator, Page, ReadOnly
from instant_notifications.feed import order_status
from instant_notifications.models import Delivery, Shipment, StatusEvent


class DeliveryInline(ReadOnly, admin.StackedInline):  # type: ignore[type-arg]
    model = Delivery
    extra = 0
    fields = readonly_fields = (
        "channel",
        "masked_destination",
        "status_now",
        "handover",
        "attempts",
        "gateway",
        "gateway_reference",
        "segments",
        "expires_at",
        "completed_at",
        "history",
    )

    @admin.display(description=_("destination"))
    def masked_destination(self, delivery: Delivery) -> str:
        return privacy.mask(delivery.destination)

    @admin.display(description=_("status"))
    def status_now(self, delivery: Delivery) -> str:
        return delivery.status_at(timezone.now())

    @admin.display(description=_("history"))
    def history(self, delivery: Delivery) -> str:
        return "\n".join(map(_line, delivery.events.all())) or "—"


def _line(event: StatusEvent) -> str:
    said = f" ({event.gateway}: {event.gateway_word or '-'})" if event.gateway else ""
    part = f" part {event.part}" if event.part else ""
    took = event.duration
    call = f" {event.outcome} after {took.total_seconds():.2f} s" if took is not None else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event}  {event.cause}{call}{part}{said}"


@admin.register(Shipment)
class ShipmentAdmin(Page):
    list_display = (
        "id",
        "created_at",
        "creator",
        "recipients",
        "order_status",
        "senders_reference",
    )
    list_per_page = 50
    paginator = BoundedPaginator
    show_full_result_count = False
    ordering = ("-id",)
    fields = readonly_fields = (
        "id",
        "order",
        "creator",
        "type",
        "senders_reference",
        "order_status",
        "created_at",
    )
    inlines = (DeliveryInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shipment]:
        deliveries = Delivery.objects.defer("content").prefetch_related("events")
        return super().get_queryset(request).prefetch_related(Prefetch("deliveries", deliveries))

    @admin.display(description=_("recipients"))
    def recipients(self, shipment: Shipment) -> str:
        return ", ".join(
            f"{privacy.mask(delivery.destination)} {delivery.status_at(timezone.now())}"
            for delivery in shipment.deliveries.all()
        )

    @admin.display(description=_("status"))
    def order_status(self, shipment: Shipment) -> str:
        return order_status(shipment.deliveries.all(), timezone.now())

    def get_urls(self) -> list[URLPattern]:
        return [self.posted(self.search, "search", action="view"), *super().get_urls()]

    def search(self, request: HttpRequest) -> HttpResponse:
        """What the term stands for: the only shipment's own page, or a list of them."""
        keys = search.find(request.POST.get("term", ""))
        if len(keys) == 1:
            return self.to("change", *keys)
        shipments = self.get_queryset(request).filter(pk__in=keys).order_by("-pk")
        return self.show(
            request,
            "found.html",
            title=_("Found"),
            column_names=[label_for_field(name, Shipment, self) for name in self.list_display],
            shipments=[(each.pk, self._cells(each)) for each in shipments],
            most=search.MOST,
        )

    def _cells(self, shipment: Shipment) -> list[Any]:
        """What the list shows of a shipment besides its id."""
        return [lookup_field(name, shipment, self)[2] for name in self.list_display[1:]]
