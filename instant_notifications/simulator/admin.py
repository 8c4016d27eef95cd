"""The simulated recipients' phone, in the console: what they have received, and when."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from instant_notifications import privacy, search
from instant_notifications.admin.reading import Page, uuids
from instant_notifications.models import Delivery, Shipment
from instant_notifications.simulator.behaviours import Word
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from instant_notifications.simulator.postman import deliver_due_receipts

SHOWN: Final = 50
SEARCHED: Final = 1000
"""The newest messages, whose recipients are read one by one: encrypted as they are, no index
finds them."""

WORDS: Final[Mapping[str, Promise]] = {
    Word.ACCEPTED.value: _("accepted"),
    Word.DELIVERED.value: _("delivered"),
    Word.BOUNCED.value: _("bounced"),
    Word.BARRED.value: _("barred"),
}


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message on the phone."""

    message: SimulatedMessage
    story: str
    """Its address; blank for those who may not read it."""

    @property
    def receipts(self) -> Sequence[tuple[object, SimulatedReceipt]]:
        """What each says, in the reader's language."""
        return [(WORDS.get(each.word, each.word), each) for each in self.message.receipts.all()]


@dataclass(frozen=True, slots=True)
class Thread:
    """What one recipient has received, the oldest first."""

    recipient: str
    bubbles: Sequence[Bubble]


@admin.register(SimulatedMessage)
class InboxAdmin(Page):
    def get_urls(self) -> list[URLPattern]:
        return [
            self.posted(self.search, "search", action="view"),
            self.posted(self.deliver, "deliver", action="change"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        newest = SimulatedMessage.objects.order_by("-pk")[:SHOWN]
        return self._phone(request, newest, **(extra_context or {}))

    def search(self, request: HttpRequest) -> HttpResponse:
        """What one recipient has received."""
        keys = _received_by(request.POST.get("recipient", ""))
        theirs = SimulatedMessage.objects.filter(pk__in=keys).order_by("-pk")
        return self._phone(request, theirs, is_search=True, searched=SEARCHED)

    def deliver(self, request: HttpRequest) -> HttpResponse:
        """Let the receipts come that are due and that nobody has brought yet."""
        brought = deliver_due_receipts()
        said = ngettext("%d receipt has come.", "%d receipts have come.", brought)
        messages.success(request, said % brought)
        return self.to("changelist")

    def _phone(
        self, request: HttpRequest, rows: QuerySet[SimulatedMessage], **context: object
    ) -> HttpResponse:
        received = list(rows.prefetch_related("receipts"))
        stories = self._stories(received) if self._may_read_stories(request) else {}
        bubbles = [Bubble(each, stories.get(each.reference, "")) for each in received]
        return self.show(
            request,
            "change_list.html",
            title=_("The phone"),
            threads=_threads(bubbles),
            most=SHOWN,
            is_full=len(received) == SHOWN,
            may_deliver=self.may(request, "change"),
            **context,
        )

    def _may_read_stories(self, request: HttpRequest) -> bool:
        site = self.admin_site
        return site.is_registered(Shipment) and site.get_model_admin(Shipment).has_view_permission(
            request
        )

    def _stories(self, received: Iterable[SimulatedMessage]) -> Mapping[str, str]:
        """The pages of the shipments behind the messages, by reference."""
        deliveries = Delivery.objects.filter(pk__in=uuids(each.reference for each in received))
        found = deliveries.values_list("pk", "shipment")
        return {str(key): self.story_of(shipment_id) for key, shipment_id in found}


def _received_by(written: str) -> Sequence[int]:
    """The newest messages to a recipient, whatever the spelling."""
    wanted = {each.casefold() for each in search.destinations(written.strip())}
    newest = SimulatedMessage.objects.order_by("-pk").values_list("pk", "destination")
    theirs = [key for key, to in newest[:SEARCHED] if to and to.casefold() in wanted]
    return theirs[:SHOWN]


def _threads(bubbles: Sequence[Bubble]) -> Sequence[Thread]:
    """Whoever has received the newest message comes first; each is read from top to bottom."""
    by_recipient = defaultdict[str, list[Bubble]](list)
    for bubble in bubbles:
        by_recipient[(bubble.message.destination or "").casefold()].append(bubble)
    return [
        Thread(privacy.mask(theirs[0].message.destination), theirs[::-1])
        for theirs in by_recipient.values()
    ]
