"""The console, in Django's own admin: masked, and read-only but for what has a button."""

from collections.abc import Mapping
from typing import Any, Final

from django.contrib import admin
from django.db.models import Model

from instant_notifications.admin.contacts import ContactEntryAdmin
from instant_notifications.admin.gateways import GatewayStateAdmin
from instant_notifications.admin.guard import HoldAdmin, ListEntryAdmin
from instant_notifications.admin.interventions import InterventionAdmin
from instant_notifications.admin.overview import FiguresAdmin
from instant_notifications.admin.receipts import UnmatchedReceiptAdmin
from instant_notifications.admin.shipments import ShipmentAdmin
from instant_notifications.models import (
    ContactEntry,
    Figures,
    GatewayState,
    Hold,
    Intervention,
    ListEntry,
    Shipment,
    UnmatchedReceipt,
)

PAGES: "Final[Mapping[type[Model], type[admin.ModelAdmin[Any]]]]" = {
    Figures: FiguresAdmin,
    Shipment: ShipmentAdmin,
    GatewayState: GatewayStateAdmin,
    UnmatchedReceipt: UnmatchedReceiptAdmin,
    Intervention: InterventionAdmin,
    Hold: HoldAdmin,
    ListEntry: ListEntryAdmin,
    ContactEntry: ContactEntryAdmin,
}


def register(site: admin.AdminSite) -> None:
    """Open the console in this site, too; Django's own has it already."""
    for model, page in PAGES.items():
        if not site.is_registered(model):
            site.register(model, page)


register(admin.site)
