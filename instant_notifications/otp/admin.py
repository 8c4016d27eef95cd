"""One-time codes in the console: how each of them ended. What the code was is nowhere."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from instant_notifications.admin.filters import TimeFilter
from instant_notifications.admin.reading import BoundedList, uuids
from instant_notifications.history import storable
from instant_notifications.otp.models import PURPOSE_LENGTH, Challenge
from instant_notifications.templatetags.console import when

LOOKS_THROUGH: Final = 20_000
"""Codes of the time asked for, the newest first: no filter is to read the whole table."""

PURPOSES_OF: Final = 1000
"""The newest codes, whose purposes are offered."""

EXPIRED: Final = "expired"
STATES: Final[Mapping[str, str | Promise]] = {
    **{state.value: state.label for state in Challenge.State},
    EXPIRED: _("expired"),
}


def state_of(challenge: Challenge) -> str:
    """How it stands now: nobody writes down that a code expires."""
    is_open = challenge.state == Challenge.State.OPEN
    return EXPIRED if is_open and challenge.expires_at <= timezone.now() else challenge.state


class NewestOfTime(TimeFilter):
    """What it lets through is bounded by primary key, whatever else is asked for."""

    title = _("time (the newest 20,000 are looked through)")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        within = super().queryset(request, queryset)
        keys = within.order_by("-pk").values_list("pk", flat=True)
        last = next(iter(keys[LOOKS_THROUGH - 1 : LOOKS_THROUGH]), None)
        return within.filter(pk__gte=last) if last else within


class ValueFilter(admin.SimpleListFilter):
    """One of the values on offer."""

    def offered(self) -> Iterable[tuple[str, str | Promise]]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        return ((value, capfirst(str(name))) for value, name in self.offered())


class StateFilter(ValueFilter):
    title = _("state")
    parameter_name = "state"

    def offered(self) -> Iterable[tuple[str, str | Promise]]:
        return STATES.items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        value = self.value()
        if value is None:
            return queryset
        if value not in STATES:
            raise IncorrectLookupParameters
        is_over = Q(expires_at__lte=timezone.now())
        if value == EXPIRED:
            return queryset.filter(is_over, state=Challenge.State.OPEN)
        live = ~is_over if value == Challenge.State.OPEN else Q()
        return queryset.filter(live, state=value)


class PurposeFilter(ValueFilter):
    title = _("purpose")
    parameter_name = "purpose"

    def offered(self) -> Iterable[tuple[str, str | Promise]]:
        newest = Challenge.objects.order_by("-pk").values_list("purpose", flat=True)[:PURPOSES_OF]
        return ((purpose, purpose) for purpose in sorted(set(newest)))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        wanted = storable(self.value() or "", PURPOSE_LENGTH)
        return queryset.filter(purpose=wanted) if wanted else queryset


@admin.register(Challenge)
class ChallengeAdmin(BoundedList):
    list_display = (
        "created",
        "purpose",
        "recipient",
        "creator",
        "state_now",
        "attempts_left",
        "sends",
        "is_bound",
        "expires",
        "ended",
    )
    list_filter = (NewestOfTime, StateFilter, PurposeFilter)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """What became of its message is told where that of every message is."""
        if not self.has_view_permission(request) or request.method == "POST":
            raise PermissionDenied
        challenge = Challenge.objects.filter(pk__in=uuids([object_id])).first()
        delivery = challenge.delivery if challenge else None
        if delivery is None:
            messages.warning(request, _("There is no message of this code, or none any more."))
            return self.to("changelist")
        return redirect(self.story_of(delivery.shipment_id))

    @admin.display(description=_("created"))
    def created(self, challenge: Challenge) -> SafeString | str:
        return when(challenge.created_at)

    @admin.display(description=_("expires"))
    def expires(self, challenge: Challenge) -> SafeString | str:
        return when(challenge.expires_at)

    @admin.display(description=_("ended"))
    def ended(self, challenge: Challenge) -> SafeString | str:
        return when(challenge.ended_at)

    @admin.display(description=_("recipient"))
    def recipient(self, challenge: Challenge) -> str:
        return challenge.masked_destination

    @admin.display(description=_("state"))
    def state_now(self, challenge: Challenge) -> str:
        return str(STATES[state_of(challenge)])

    @admin.display(description=_("bound to a user or a session"), boolean=True)
    def is_bound(self, challenge: Challenge) -> bool:
        return bool(challenge.user_hash or challenge.session_hash)
