"""The console: read-only, masked."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy, rules
from instant_notifications.models import Delivery, Shipment, StatusEvent


class ReadOnly:
    """Nobody adds, changes or deletes history by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class DeliveryInline(ReadOnly, admin.StackedInline):  # type: ignore[type-arg]
    model = Delivery
    extra = 0
    fields = readonly_fields = (
        "channel",
        "masked_destination",
        "status",
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

    @admin.display(description=_("history"))
    def history(self, delivery: Delivery) -> str:
        return "\n".join(map(_line, delivery.events.all())) or "—"


def _line(event: StatusEvent) -> str:
    said = f" ({event.gateway}: {event.gateway_word})" if event.gateway_word else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event}  {event.cause}{said}"


@admin.register(Shipment)
class ShipmentAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "created_at", "creator", "recipients", "status", "senders_reference")
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-id",)
    search_fields = ("id",)
    search_help_text = _("Shipment id, phone number or e-mail address")
    fields = readonly_fields = (
        "id",
        "order",
        "creator",
        "type",
        "senders_reference",
        "status",
        "created_at",
        "updated_at",
    )
    inlines = (DeliveryInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shipment]:
        deliveries = Delivery.objects.defer("content").prefetch_related("events")
        return super().get_queryset(request).prefetch_related(Prefetch("deliveries", deliveries))

    @admin.display(description=_("recipients"))
    def recipients(self, shipment: Shipment) -> str:
        return ", ".join(
            f"{privacy.mask(delivery.destination)} {delivery.status}"
            for delivery in shipment.deliveries.all()
        )

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Shipment], search_term: str
    ) -> tuple[QuerySet[Shipment], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            matching = Delivery.objects.to(_destination(term)).values("shipment_id")
            return queryset.filter(pk__in=matching), False


def _destination(term: str) -> str:
    """The address as it is stored, whatever the spelling."""
    rule = rules.email_address if "@" in term else rules.mobile_number
    try:
        return str(rule(term, "search"))
    except rules.Broken:
        return term
