"""What gateways said of messages we do not know, and matching it by hand."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from instant_notifications import orders, search
from instant_notifications.admin.acts import Case
from instant_notifications.admin.reading import BoundedPaginator, Page, reason, uuids
from instant_notifications.exceptions import NotAllowed
from instant_notifications.models import Delivery, Shipment, UnmatchedReceipt
from instant_notifications.orders import verdicts
from instant_notifications.templatetags.console import when

MOST: Final = 20
"""Messages that are offered at once."""


def candidates(kept: UnmatchedReceipt, term: str) -> Sequence[Case]:
    shipments = search.find(term)[:MOST]
    theirs = Delivery.objects.filter(shipment__in=shipments).order_by("-pk")
    now = timezone.now()
    return [
        Case(each, each.delivery.status_at(now), verdicts.may_match(kept, each, now))
        for each in verdicts.to_judge(list(theirs.values_list("pk", flat=True)[:MOST]))
    ]


class UnmatchedReceiptAdmin(Page):
    list_display = (
        "received",
        "gateway",
        "gateway_reference",
        "reference",
        "status",
        "word",
        "part",
    )
    list_display_links = None
    sortable_by = ()
    list_per_page = 50
    paginator = BoundedPaginator
    show_full_result_count = False
    ordering = ("-pk",)

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.shown(self.match_page, "match", action="match", of="<int:key>/"),
            self.posted(self.match, "matched", action="match", of="<int:key>/"),
        ]
        return [*own, *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        more = ("match_link",) if self.may(request, "match") else ()
        return (*self.list_display, *more)

    @admin.display(description=_("received"), ordering="received_at")
    def received(self, kept: UnmatchedReceipt) -> SafeString | str:
        return when(kept.received_at)

    @admin.display(description=_("match"))
    def match_link(self, kept: UnmatchedReceipt) -> SafeString:
        address = self.address("match", kept.pk)
        return format_html('<a href="{}">{}</a>', address, _("Find its message"))

    def match_page(self, request: HttpRequest, key: int) -> HttpResponse:
        """The receipt, and the messages it may be about once a term was posted."""
        kept = UnmatchedReceipt.objects.filter(pk=key).first()
        if kept is None:
            return self._gone(request)
        term = request.POST.get("term", "")
        return self.show(
            request,
            "match.html",
            title=_("Find its message"),
            kept=kept,
            searched=bool(term),
            candidates=candidates(kept, term) if term else (),
            shipment_opts=Shipment._meta,
        )

    def match(self, request: HttpRequest, key: int) -> HttpResponse:
        """Write the receipt down as the chosen message's."""
        because = reason(request)
        chosen = uuids([request.POST.get("delivery", "")])
        if not (because and chosen):
            messages.error(request, _("Choose a message and say why."))
            return self.to("match", key)
        match = partial(orders.match, key, chosen[0], because=because, sure="sure" in request.POST)
        try:
            delivery = match(by=request.user.get_username())
        except NotAllowed as refusal:
            messages.error(request, str(refusal.why))
            return self.to("match", key)
        except UnmatchedReceipt.DoesNotExist:
            return self._gone(request)
        except Delivery.DoesNotExist:
            messages.error(request, _("There is no such message."))
            return self.to("match", key)
        matched = Shipment(pk=delivery.shipment_id)
        self.log_change(request, matched, f"Receipt {key} matched with {delivery.pk}: {because}")
        messages.success(request, _("The receipt is written down as this message's."))
        return redirect(self.story_of(delivery.shipment_id))

    def _gone(self, request: HttpRequest) -> HttpResponse:
        messages.warning(request, _("This receipt is not here any more."))
        return self.to("changelist")
