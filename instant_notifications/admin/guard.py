"""The guard's pages: who is held, whom the operator keeps out or lets through, and the words."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from instant_notifications.admin.reading import Page
from instant_notifications.conf import settings
from instant_notifications.guard import holds, lists, refusals
from instant_notifications.models import Hold, ListEntry, primary
from instant_notifications.models.orders import REFERENCE_LENGTH

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST: Final = 500
"""Rows on a page, the newest first."""

REASONS: Final[Mapping[str, Promise]] = {
    "creator": _("limit of the organisation"),
    "recipient": _("limit of the recipient"),
    "address": _("limit of the caller's address"),
    "prefix": _("limit of the number prefix"),
    "country": _("limit of the country"),
    "OTP_RESEND_PAUSE": _("pause between two codes"),
    "OTP_SENDS_PER_HOUR": _("codes to one recipient in an hour"),
    "OTP_SENDS_PER_DAY": _("codes to one recipient in a day"),
    refusals.COUNTRY_NOT_ALLOWED: _("country that codes do not go to"),
    refusals.COSTLY_NUMBER: _("kind of number that costs extra"),
    refusals.LISTED: _("on the block list"),
    refusals.HELD: _("held: its codes are not verified"),
}
"""Why the guard refuses, for people."""


class Deed(forms.Form):
    """What is done about one row, and why."""

    key = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    because = forms.CharField(max_length=REFERENCE_LENGTH)


class GuardPage(Page):
    """A table of rows, each with a button for those who may press it."""

    own_action: str

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.table(request, **(extra_context or {}))

    def table(self, request: HttpRequest, **context: Any) -> HttpResponse:
        rows: QuerySet[Any] = self.model._default_manager.using(primary()).order_by("-pk")
        context |= {
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "rows": rows[:MOST],
            "may_act": self.may(request, self.own_action),
            "now": timezone.now(),
        }
        return self.show(request, "change_list.html", **context)

    def deal_with(
        self, request: HttpRequest, carry_out: Callable[[int, str], Any], done: Promise, logged: str
    ) -> HttpResponse:
        """Do what the form asks for, once, and write down who did it and why."""
        form = Deed(request.POST)
        if not form.is_valid():
            messages.error(request, _("Say why, for those who come after you."))
            return self.to("changelist")
        because = form.cleaned_data["because"]
        row = carry_out(form.cleaned_data["key"], because)
        if row is None:
            messages.warning(request, _("There is nothing to do: somebody was faster."))
        else:
            self.log_change(request, row, f"{logged}: {because}")
            messages.success(request, str(done))
        return self.to("changelist")


class HoldAdmin(GuardPage):
    own_action = "release"

    def get_urls(self) -> list[URLPattern]:
        return [self.posted(self.release, "release", action="release"), *super().get_urls()]

    def table(self, request: HttpRequest, **context: Any) -> HttpResponse:
        return super().table(request, blocks=settings.OTP_HOLD == "block", **context)

    def release(self, request: HttpRequest) -> HttpResponse:
        by = request.user.get_username()

        def carry_out(key: int, because: str) -> Hold | None:
            return holds.release(key, by=by, because=because)

        done = _("It is released, and will not be held again for a day.")
        return self.deal_with(request, carry_out, done, "Released")


class EntryForm(forms.Form):
    """An entry to be."""

    verdict = forms.ChoiceField(label=_("What"), choices=ListEntry.Verdict.choices)
    kind = forms.ChoiceField(label=_("Kind"), choices=ListEntry.Kind.choices)
    subject = forms.CharField(
        label=_("Whom"),
        max_length=320,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=_("As in +47 999 99 999, kari@example.com, +47 999, NO, or 192.0.2.0/24."),
    )
    days = forms.IntegerField(
        label=_("Days"),
        min_value=1,
        max_value=3650,
        required=False,
        help_text=_("Blank: until somebody removes it."),
    )
    because = forms.CharField(label=_("Why?"), max_length=REFERENCE_LENGTH)

    def add(self, *, by: str) -> ListEntry | None:
        """The entry; ``None``, with the error told, where what is written is not of its kind."""
        asked = self.cleaned_data
        until = timezone.now() + timedelta(days=asked["days"]) if asked["days"] else None
        try:
            return lists.add(
                asked["verdict"],
                asked["kind"],
                asked["subject"],
                by=by,
                because=asked["because"],
                until=until,
            )
        except ValueError:
            self.add_error("subject", _("This is not one of its kind."))
            return None


class ListEntryAdmin(GuardPage):
    """The one page with a form to add something."""

    own_action = "keep"

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.posted(self.include, "include", action="keep"),
            self.posted(self.remove, "remove", action="keep"),
        ]
        return [*own, *super().get_urls()]

    def table(self, request: HttpRequest, **context: Any) -> HttpResponse:
        return super().table(request, **{"form": EntryForm(), **context})

    def include(self, request: HttpRequest) -> HttpResponse:
        form = EntryForm(request.POST)
        entry = form.add(by=request.user.get_username()) if form.is_valid() else None
        if entry is None:
            return self.table(request, form=form)
        self.log_addition(request, entry, f"{entry}: {entry.because}")
        messages.success(request, _("%s is on the list.") % entry.shown)
        return self.to("changelist")

    def remove(self, request: HttpRequest) -> HttpResponse:
        def carry_out(key: int, because: str) -> ListEntry | None:  # noqa: ARG001
            return lists.remove(key)

        return self.deal_with(request, carry_out, _("It is off the list."), "Removed")
