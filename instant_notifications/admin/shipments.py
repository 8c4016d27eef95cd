"""Shipments: find one, and read what became of it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from instant_notifications import orders, search
from instant_notifications.admin import acts, trial
from instant_notifications.admin.export import ExportPage
from instant_notifications.admin.reading import reason, uuids
from instant_notifications.admin.story import Story, story_of
from instant_notifications.models import Delivery, Shipment, primary


class ShipmentAdmin(ExportPage):
    actions = (*acts.list_actions(), *ExportPage.actions)

    def get_urls(self) -> list[URLPattern]:
        return [
            self.posted(self.search, "search", action="view"),
            self.posted(self.reveal, "reveal", action="reveal", of="<uuid:delivery_id>/"),
            *acts.routes(self),
            *trial.routes(self),
            *super().get_urls(),
        ]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "resend")

    def has_end_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "end")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """The story of a shipment, to be read only."""
        if not self.has_view_permission(request) or request.method == "POST":
            raise PermissionDenied
        told = [story for key in uuids([object_id]) if (story := story_of(key))]
        return self._tell(request, *told) if told else self._unknown(request, object_id)

    def reveal(self, request: HttpRequest, delivery_id: UUID) -> HttpResponse:
        """The same story with a destination and a text in clear, for those who say why."""
        shipment = Shipment.objects.using(primary()).filter(deliveries=delivery_id).first()
        because = reason(request)
        if shipment is None:
            return self._unknown(request, str(delivery_id))
        if not because:
            messages.error(request, _("Say why, for those who come after you."))
            return self.to("change", shipment.pk)
        try:
            revealed = orders.reveal(delivery_id, by=request.user.get_username(), because=because)
        except Delivery.DoesNotExist:  # purged since
            return self._unknown(request, str(delivery_id))
        self.log_change(request, shipment, f"Shown in clear: {because}")
        told = story_of(shipment.pk, {delivery_id: revealed})
        return self._tell(request, told) if told else self._unknown(request, str(delivery_id))

    def _unknown(self, request: HttpRequest, key: str) -> HttpResponse:
        answer: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
            request, self.opts, key
        )
        return answer

    def _tell(self, request: HttpRequest, story: Story) -> HttpResponse:
        return self.show(
            request,
            "story.html",
            title=_("Story of a shipment"),
            subtitle=story.shipment.pk,
            original=story.shipment,
            story=story,
            may_reveal=self.may(request, "reveal"),
            buttons=acts.of_story(self, request, story.shipment),
        )

    def search(self, request: HttpRequest) -> HttpResponse:
        """What the term stands for: the only shipment's own page, or a list of them."""
        keys = search.find(request.POST.get("term", ""))
        if len(keys) == 1:
            return self.to("change", *keys)
        shipments = self.get_queryset(request).using(primary()).filter(pk__in=keys).order_by("-pk")
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
