"""What gateways said of messages we do not know."""

from django.contrib import admin

from instant_notifications.admin.reading import BoundedPaginator, ReadOnly
from instant_notifications.models import UnmatchedReceipt


@admin.register(UnmatchedReceipt)
class UnmatchedReceiptAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "received_at",
        "gateway",
        "gateway_reference",
        "reference",
        "status",
        "word",
        "part",
    )
    list_display_links = None
    list_per_page = 50
    paginator = BoundedPaginator
    ordering = ("-pk",)
