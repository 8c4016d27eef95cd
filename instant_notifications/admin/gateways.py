"""Gateways: how each of them stands, and the switch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from instant_notifications import health
from instant_notifications.admin.reading import Page, reason
from instant_notifications.conf import settings
from instant_notifications.models import GatewayState


@dataclass(frozen=True, slots=True)
class Standing:
    """One gateway of the settings, as the page shows it."""

    alias: str
    routes: Sequence[str]
    state: GatewayState

    @property
    def is_passed_over(self) -> bool:
        return health.is_passed_over(self.state)


def standings() -> Iterator[Standing]:
    states = health.states_of(list(settings.GATEWAYS))
    for alias in settings.GATEWAYS:
        routes = [channel for channel, route in settings.ROUTES.items() if alias in route]
        yield Standing(alias, routes, states.get(alias, GatewayState(alias=alias)))


class GatewayStateAdmin(Page):
    """Every gateway of the settings, whether or not anything is known of it yet."""

    def get_urls(self) -> list[URLPattern]:
        return [self.posted(self.switch, "switch", action="switch"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **(extra_context or {}),
            "title": _("Gateways"),
            "standings": list(standings()),
            "may_switch": self.may(request, "switch"),
        }
        return self.show(request, "change_list.html", **context)

    def switch(self, request: HttpRequest) -> HttpResponse:
        """Off, with a reason, or on again; with effect at once in all processes."""
        alias, because = request.POST.get("alias", "").strip(), reason(request)
        if alias not in settings.GATEWAYS:
            messages.error(request, _("There is no such gateway."))
        elif request.POST.get("to") == "on":
            self._switch_on(request, alias)
        elif because:
            self._switch_off(request, alias, because)
        else:
            messages.error(request, _("Say why, for those who come after you."))
        return self.to("changelist")

    def _switch_off(self, request: HttpRequest, alias: str, because: str) -> None:
        health.switch_off(alias, by=request.user.get_username(), because=because)
        self.log_change(request, GatewayState(alias=alias), f"Switched off: {because}")
        messages.warning(request, _("Nothing is sent by %s until it is switched on.") % alias)

    def _switch_on(self, request: HttpRequest, alias: str) -> None:
        health.switch_on(alias)
        self.log_change(request, GatewayState(alias=alias), "Switched on.")
        messages.success(request, _("Gateway %s is asked again.") % alias)
