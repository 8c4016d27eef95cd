"""What the list of shipments can be narrowed by."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from instant_notifications.admin import words
from instant_notifications.conf import settings
from instant_notifications.models import Organisation, Shipment
from instant_notifications.models.identifiers import first_uuid7
from instant_notifications.models.orders import overdue
from instant_notifications.statuses import STAGES, WORDS, Handover, Stage

MOST_CREATORS: Final = 100

Text = str | Promise

STAGE_NAMES: Final[Mapping[Stage, Text]] = {
    Stage.NEW: _("not sent yet"),
    Stage.SENDING: _("being sent"),
    Stage.ACCEPTED: _("with the gateway"),
    Stage.DELIVERED: _("delivered"),
    Stage.FAILED: _("failed"),
    Stage.EXPIRED: _("expired"),
}

DOUBT: Final = "doubt"
IN_DOUBT: Final = _("in doubt")
"""It may have been sent; beside its stage, for it may well have expired since."""

LATER: Final = "later"
DUE: Final = "due"
WAITING_NAMES: Final[Mapping[str, Text]] = {
    LATER: _("waiting for its time"),
    DUE: _("due, waiting for a worker"),
}
"""Of regular orders, planned or with messages."""

PRESETS: Final[Mapping[str, tuple[Text, timedelta]]] = {
    "hour": (_("Last hour"), timedelta(hours=1)),
    "day": (_("Last 24 hours"), timedelta(hours=24)),
    "week": (_("Last 7 days"), timedelta(days=7)),
}


def shows(words: Collection[str], now: datetime) -> Q:
    """Deliveries whose true word at that time, ``Delivery.status_at``, is one of these."""
    expired = [channel for channel, its in WORDS.items() if its.expired in words]
    return Q(~overdue(now), status__in=words) | Q(overdue(now), channel__in=expired)


class ChoiceFilter(admin.SimpleListFilter):
    """One value of several.

    It narrows nothing by itself: all that is asked of a delivery must hold for the same delivery,
    so the list puts the conditions together.
    """

    takes_any = False
    """Whether a value may be asked for that is not offered."""

    def offered(self) -> Iterable[tuple[str, Text]]:
        raise NotImplementedError

    def of_shipment(self, value: str) -> Q:  # noqa: ARG002
        return Q()

    def of_delivery(self, value: str, now: datetime) -> Q:  # noqa: ARG002
        return Q()

    def of_plan(self, value: str, now: datetime) -> Q | None:  # noqa: ARG002
        """What may be asked of a plan in place of a delivery; ``None`` for nothing."""
        return None

    def value(self) -> str | None:
        written = super().value() or ""
        return None if "\0" in written else written or None

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:  # noqa: ARG002
        offered, value = list(self.offered()), self.value()
        if value is None or value in dict(offered):
            return offered
        if not self.takes_any:
            raise IncorrectLookupParameters
        return [*offered, (value, value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:  # noqa: ARG002
        return None


def _listed(names: Mapping[Any, Text]) -> Iterator[tuple[str, Text]]:
    return ((value, capfirst(str(name))) for value, name in names.items())


class GroupFilter(ChoiceFilter):
    title = _("how it stands")
    parameter_name = "group"

    def offered(self) -> Iterable[tuple[str, Text]]:
        names = {stage.value: name for stage, name in STAGE_NAMES.items()}
        return _listed({**WAITING_NAMES, **names, DOUBT: IN_DOUBT})

    def of_delivery(self, value: str, now: datetime) -> Q:
        if value == DOUBT:
            return Q(handover=Handover.UNKNOWN)
        if value in WAITING_NAMES:
            return _waits(value, now)
        return shows([word for word, stage in STAGES.items() if stage is Stage(value)], now)

    def of_plan(self, value: str, now: datetime) -> Q | None:
        return _waits(value, now) if value in WAITING_NAMES else None


def _waits(value: str, now: datetime) -> Q:
    """The same columns of a plan and of a delivery."""
    return Q(due_at__gt=now) if value == LATER else Q(due_at__lte=now)


class StatusFilter(ChoiceFilter):
    title = _("status")
    parameter_name = "status"
    template = "admin/instant_notifications/shipment/long_filter.html"

    def offered(self) -> Iterable[tuple[str, Text]]:
        return ((word, word) for word in STAGES)

    def of_delivery(self, value: str, now: datetime) -> Q:
        return shows([value], now)


class ChannelFilter(ChoiceFilter):
    title = _("channel")
    parameter_name = "channel"

    def offered(self) -> Iterable[tuple[str, Text]]:
        return _listed(words.CHANNELS)

    def of_delivery(self, value: str, now: datetime) -> Q:  # noqa: ARG002
        return Q(channel=value)


class GatewayFilter(ChoiceFilter):
    """Those of the settings; any other may have sent messages in its time."""

    title = _("gateway")
    parameter_name = "gateway"
    takes_any = True

    def offered(self) -> Iterable[tuple[str, Text]]:
        return ((alias, alias) for alias in settings.GATEWAYS)

    def of_delivery(self, value: str, now: datetime) -> Q:  # noqa: ARG002
        return Q(gateway=value)


class CreatorFilter(ChoiceFilter):
    title = _("organisation")
    parameter_name = "creator"
    takes_any = True

    def offered(self) -> Iterable[tuple[str, Text]]:
        names = Organisation.objects.order_by("name").values_list("name", flat=True)
        return ((name, name) for name in names[:MOST_CREATORS])

    def of_shipment(self, value: str) -> Q:
        return Q(creator=value)


class KindFilter(ChoiceFilter):
    title = _("kind")
    parameter_name = "kind"

    def offered(self) -> Iterable[tuple[str, Text]]:
        return _listed(words.TYPES)

    def of_shipment(self, value: str) -> Q:
        return Q(type=value)


class ClockTime(forms.DateTimeField):
    """As a clock in the reader's zone shows it, also in the nights when it is put back or on."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1})

    def __init__(self, *, fold: int, **options: Any) -> None:
        super().__init__(required=False, **options)
        self.fold = fold

    def to_python(self, value: Any) -> datetime | None:
        try:
            naive = parse_datetime(str(value or "").strip())
        except ValueError:
            naive = None
        if naive is None or timezone.is_aware(naive):
            return super().to_python(value)
        return timezone.make_aware(naive.replace(fold=self.fold))


class TimesForm(forms.Form):
    """From and to; of an hour that comes twice, all of it."""

    since = ClockTime(label=_("From"), fold=0)
    until = ClockTime(label=_("To"), fold=1)

    def clean(self) -> dict[str, Any]:
        since, until = (self.cleaned_data.get(name) for name in self.fields)
        if since and until and until <= since:
            self.add_error("until", _("The end must be later than the beginning."))
        return self.cleaned_data


class TimeFilter(admin.ListFilter):
    """The last hours, or from one time to another, by the times that the ids carry."""

    title = _("time")
    template = "admin/instant_notifications/shipment/time_filter.html"

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.expected_parameters():
            if given := params.pop(name, None):
                self.used_parameters[name] = given[-1]
        self.within = str(self.used_parameters.get("within", ""))
        if self.within and self.within not in PRESETS:
            raise IncorrectLookupParameters
        self.form = TimesForm(self.used_parameters)
        self.kept: Sequence[tuple[str, str]] = ()

    def expected_parameters(self) -> list[str]:  # type: ignore[override]
        return ["within", *TimesForm.base_fields]

    def has_output(self) -> bool:
        return True

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Shipment],
    ) -> QuerySet[Shipment]:
        """Nothing for times that cannot be understood: the rest would be taken for the answer."""
        if not self.form.is_valid():
            return queryset.none()
        if self.within:
            earliest = timezone.now() - PRESETS[self.within][1]
            queryset = queryset.filter(pk__gte=first_uuid7(earliest))
        if since := self.form.cleaned_data["since"]:
            queryset = queryset.filter(pk__gte=first_uuid7(since))
        if until := self.form.cleaned_data["until"]:
            queryset = queryset.filter(pk__lt=first_uuid7(until))
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        own = self.expected_parameters()
        self.kept = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name not in own
            for value in values
        ]
        without = changelist.get_query_string(remove=own)
        yield {"selected": not self.used_parameters, "query_string": without, "display": _("All")}
        for name, (display, _length) in PRESETS.items():
            yield {
                "selected": self.within == name,
                "query_string": changelist.get_query_string({"within": name}, remove=own),
                "display": display,
            }


FILTERS: Final = (
    TimeFilter,
    GroupFilter,
    ChannelFilter,
    CreatorFilter,
    GatewayFilter,
    KindFilter,
    StatusFilter,
)
