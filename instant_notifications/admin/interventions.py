"""Who has stepped in, and why: for auditors."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from instant_notifications.admin.reading import BoundedList
from instant_notifications.models import Intervention
from instant_notifications.templatetags.console import when


class InterventionAdmin(BoundedList):
    list_display = ("time", "by", "kind", "because", "shipment", "new_shipment")
    list_display_links = None
    list_filter = ("kind",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Intervention]:
        whole = super().get_queryset(request).select_related("delivery", "successor")
        return whole.only(
            "at", "by", "kind", "because", "delivery__shipment", "successor__shipment"
        )

    @admin.display(description=_("time"))
    def time(self, intervention: Intervention) -> SafeString | str:
        return when(intervention.at)

    @admin.display(description=_("shipment"))
    def shipment(self, intervention: Intervention) -> SafeString:
        return self._link(intervention.delivery.shipment_id)

    @admin.display(description=_("new shipment"))
    def new_shipment(self, intervention: Intervention) -> SafeString | str:
        successor = intervention.successor
        return self._link(successor.shipment_id) if successor else "\N{EN DASH}"

    def _link(self, shipment_id: Any) -> SafeString:
        return format_html('<a href="{}">{}</a>', self.story_of(shipment_id), shipment_id)
