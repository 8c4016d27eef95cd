"""The local contact register: masked, but for those who keep it."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy, rules
from instant_notifications.admin.reading import BoundedList, keep_from_reports
from instant_notifications.contacts import Identity, importing, local
from instant_notifications.contacts.addresses import LONGEST_NAME, mobile_number
from instant_notifications.models import ContactEntry
from instant_notifications.recipients import Kind
from instant_notifications.templatetags.console import when

MASKED: Final = (
    "masked_number",
    "kind",
    "initials",
    "phones",
    "mailboxes",
    "reserved",
    "confirmed",
    "changed",
)
IN_CLEAR: Final = (
    "kind",
    "number",
    "name",
    "phone_numbers",
    "email_addresses",
    "reserved",
    "confirmed_at",
)
FIXED: Final = ("kind", "number", "changed")
"""Another number is another contact."""


def _said(broken: rules.Broken) -> str:
    return gettext(broken.rule).format(**broken.about)


class Lines(forms.Field):
    """Texts, one to a line, each of which passes a rule; without duplicates."""

    widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField", "autocomplete": "off"})

    def __init__(self, rule: rules.Rule, **options: Any) -> None:
        self._rule = rule
        super().__init__(required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else "\n".join(value or ())

    def to_python(self, value: Any) -> list[str]:
        passed, problems = [], []
        for place, line in enumerate((value or "").splitlines(), start=1):
            try:
                passed += [self._rule(line, str(self.label))] if line.strip() else []
            except rules.Broken as broken:
                problem = {"place": place, "problem": _said(broken)}
                problems.append(_("Line %(place)d: %(problem)s") % problem)
        if problems:
            raise ValidationError(problems)
        return list(dict.fromkeys(passed))


class ContactForm(forms.ModelForm):  # type: ignore[type-arg]
    number = forms.CharField(
        label=_("Number"),
        max_length=320,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=_(
            "The 11 digits of a person, the 9 of an organisation, or the URN of an external "
            "identity."
        ),
    )
    name = forms.CharField(
        label=_("Name"),
        max_length=LONGEST_NAME,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    phone_numbers = Lines(
        mobile_number,
        label=_("Mobile numbers"),
        help_text=_("One to a line, each with its country; Norwegian ones need no +47."),
    )
    email_addresses = Lines(
        rules.email_address, label=_("E-mail addresses"), help_text=_("One to a line.")
    )

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        try:
            return rules.text(name, gettext("Name"), required=False)
        except rules.Broken as broken:
            raise ValidationError(_said(broken)) from None

    def clean_confirmed_at(self) -> Any:
        confirmed_at = self.cleaned_data["confirmed_at"]
        if confirmed_at > timezone.now() + rules.CLOCK_LEEWAY:
            raise ValidationError(gettext(importing.FUTURE))
        return confirmed_at

    def clean(self) -> None:
        kind, number = (self.cleaned_data.get(name) for name in ("kind", "number"))
        if kind and number:
            try:
                self.cleaned_data["number"] = self._new_number(Kind(kind), number)
            except rules.Broken as broken:
                self.add_error("number", _said(broken))

    def _new_number(self, kind: Kind, written: str) -> str:
        number: str = importing.NUMBERS[kind]("".join(written.split()), gettext("Number"))
        if local.find([Identity(kind, number)]):
            self.add_error("number", _("There is a contact of this number already."))
        return number


class ContactEntryAdmin(BoundedList):
    """Whoever may only look sees nothing in clear, on no page."""

    form = ContactForm
    list_display = MASKED
    has_change_permission = admin.ModelAdmin.has_change_permission
    has_delete_permission = admin.ModelAdmin.has_delete_permission

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return admin.ModelAdmin.has_add_permission(self, request)

    def get_urls(self) -> list[URLPattern]:
        return [self.posted(self.search, "search", action="view"), *super().get_urls()]

    def search(self, request: HttpRequest) -> HttpResponse:
        """The page of the only contact that a number can mean."""
        found = local.find(_meant(request.POST.get("term", "")))
        for entry in found.values():
            return self.to("change", entry.pk)
        messages.warning(request, _("There is no contact of this number."))
        return self.to("changelist")

    def changeform_view(self, request: HttpRequest, *args: Any, **named: Any) -> Any:
        keep_from_reports(request)
        return super().changeform_view(request, *args, **named)

    def get_fields(self, request: HttpRequest, obj: ContactEntry | None = None) -> tuple[str, ...]:
        if obj is None:
            return IN_CLEAR
        return (*IN_CLEAR, "changed") if self.has_change_permission(request, obj) else MASKED

    def get_readonly_fields(
        self, request: HttpRequest, obj: ContactEntry | None = None
    ) -> tuple[str, ...]:
        if obj is None:
            return ()
        return FIXED if self.has_change_permission(request, obj) else MASKED

    def save_model(self, request: HttpRequest, obj: ContactEntry, form: Any, change: bool) -> None:
        if obj.number is not None:  # it may be unreadable since a key was lost
            obj.digest = local.digests(obj.kind, obj.number)[0]
        obj.updated_at = timezone.now()
        super().save_model(request, obj, form, change)

    @admin.display(description=_("number"))
    def masked_number(self, entry: ContactEntry) -> str:
        """Of an external identity without what all of its kind begin with."""
        return privacy.mask((entry.number or "").rpartition(":")[2])

    @admin.display(description=_("name"))
    def initials(self, entry: ContactEntry) -> str:
        return " ".join(f"{word[0]}." for word in (entry.name or "").split()) or "\N{EN DASH}"

    @admin.display(description=_("mobile numbers"))
    def phones(self, entry: ContactEntry) -> str:
        return _all_masked(entry.phone_numbers)

    @admin.display(description=_("e-mail addresses"))
    def mailboxes(self, entry: ContactEntry) -> str:
        return _all_masked(entry.email_addresses)

    @admin.display(description=_("confirmed"))
    def confirmed(self, entry: ContactEntry) -> SafeString | str:
        at = when(entry.confirmed_at)
        return format_html("{} ({})", at, _("stale")) if local.is_stale(entry) else at

    @admin.display(description=_("changed"))
    def changed(self, entry: ContactEntry) -> SafeString | str:
        return when(entry.updated_at)


def _all_masked(destinations: Sequence[str]) -> str:
    return ", ".join(map(privacy.mask, destinations)) or "\N{EN DASH}"


def _meant(term: str) -> Sequence[Identity]:
    """Whose number this is, if it is one."""
    meant = []
    for kind, rule in importing.NUMBERS.items():
        try:
            meant.append(Identity(Kind(kind), rule("".join(term.split()), "")))
        except rules.Broken:
            continue
    return meant
