"""The console, in Django's own admin: masked, and read-only but for what has a button."""

from instant_notifications.admin import gateways, receipts, shipments

__all__ = ["gateways", "receipts", "shipments"]
