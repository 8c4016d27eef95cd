"""Send a test message: see what it takes and which way it goes, and then send it for real."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy, rules, sms
from instant_notifications.admin import words
from instant_notifications.admin.gateways import standings
from instant_notifications.admin.reading import Page
from instant_notifications.conf import settings
from instant_notifications.exceptions import (
    NotificationError,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.models import Shipment
from instant_notifications.orders import DEFAULT_TIME_TO_LIVE, Sent, send_email, send_sms
from instant_notifications.statuses import Channel

WAYS_TO_FAIL: Final = {
    Rejected: _("It was refused for good. It will not be sent."),
    Unavailable: _("No gateway could take it now. It was not sent; you may send it again."),
    OutcomeUnknown: _("It may have been sent, nobody knows. Look before you send another."),
    StillUnderWay: _("It is still being sent. Wait a moment, then look what became of it."),
    NotificationError: _("It was not sent."),
}


class Text(forms.CharField):
    """Many lines. A browser sends each break as two characters, and an SMS would pay for both."""

    widget = forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"})

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)

    def to_python(self, value: object) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


def _line(label: Any, *, required: bool = True, **options: Any) -> forms.CharField:
    look = forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"})
    return forms.CharField(label=label, required=required, widget=look, **options)


class MessageForm(forms.Form):
    """Its fields are arguments of ``send``, and pass the rules that everybody's messages pass."""

    required_css_class = "required"
    channel: ClassVar[Channel]
    send_now: ClassVar[Callable[..., Sent]]
    ruled_by: ClassVar[Mapping[str, rules.Rule]]

    form_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)

    def clean(self) -> None:
        for name in self.ruled_by.keys() & self.cleaned_data.keys():
            try:
                self.cleaned_data[name] = self._checked(name)
            except rules.Broken as broken:
                self.add_error(name, gettext(broken.rule).format(**broken.about))

    def _checked(self, name: str) -> object:
        return self.ruled_by[name](self.cleaned_data[name], str(self.fields[name].label))

    def send(self) -> Sent:
        """Once for each wording: a second click sends nothing more, a corrected message goes."""
        message = dict(self.cleaned_data)
        form_id: UUID = message.pop("form_id")
        wording = privacy.fingerprints([self.channel, message])[0][:32]
        return type(self).send_now(**message, idempotency_id=f"test-{form_id}-{wording}")

    def text(self) -> str:
        """The text as far as it is written, whatever may be wrong with it."""
        return Text(required=False).to_python(self.data.get("body", ""))


class SmsForm(MessageForm):
    channel = Channel.SMS
    send_now = staticmethod(send_sms)
    ruled_by: ClassVar = {
        "to": rules.mobile_number,
        "body": rules.sms_body,
        "sender": rules.optional(
            lambda value, name: rules.sms_sender_of(settings.DEFAULT_CREATOR)(value, name)
        ),
        "time_to_live": rules.time_to_live,
    }

    to = _line(_("Mobile number"), help_text=_("With its country, as in +47 999 99 999."))
    sender = _line(_("Sender"), required=False, help_text=_("Blank: as the settings say."))
    body = Text(label=_("Text"))
    time_to_live = forms.IntegerField(
        label=_("Time to live"),
        initial=DEFAULT_TIME_TO_LIVE,
        help_text=_("Seconds until it is of no use any more."),
    )


class EmailForm(MessageForm):
    channel = Channel.EMAIL
    send_now = staticmethod(send_email)
    ruled_by: ClassVar = {
        "to": rules.email_address,
        "subject": rules.email_subject,
        "body": rules.email_body,
        "content_type": rules.content_type,
        "sender": rules.optional(
            lambda value, name: rules.email_sender_of(settings.DEFAULT_CREATOR)(value, name)
        ),
    }

    to = _line(_("E-mail address"))
    sender = _line(_("Sender"), required=False, help_text=_("Blank: as the settings say."))
    subject = _line(_("Subject"))
    body = Text(label=_("Text"))
    content_type = forms.ChoiceField(
        label=_("Written in"), choices=[("Plain", _("plain text")), ("Html", _("HTML"))]
    )


FORMS: Final[Mapping[str, type[MessageForm]]] = {
    form.channel: form for form in (SmsForm, EmailForm)
}


def routes(console: Page) -> list[URLPattern]:
    return [console.shown(partial(page, console), "test", action="test")]


def page(console: Page, request: HttpRequest) -> HttpResponse:
    """A form to fill in; by POST a preview of what is in it, or its message sent."""
    asked = request.POST if request.method == "POST" else request.GET
    form_of = FORMS.get(asked.get("channel", ""), SmsForm)
    form = form_of(request.POST if request.method == "POST" else None)
    if form.is_valid() and "send" in request.POST:
        return _sent(console, request, form)
    return _show(console, request, form)


def _show(
    console: Page, request: HttpRequest, form: MessageForm, **context: object
) -> HttpResponse:
    is_fragment = request.POST.get("only") == "preview"
    template = "trial_preview.html" if is_fragment else "trial.html"
    context |= {"title": _("Send a test message"), "form": form}
    if form.is_bound:
        context["preview"] = _preview(form)
    return console.show(request, template, **context)


def _sent(console: Page, request: HttpRequest, form: MessageForm) -> HttpResponse:
    """To the story of what was sent; back to the form, with the reason, where nothing was."""
    try:
        sent = form.send()
    except NotificationError as failure:
        return _show(console, request, form, **_told(console, request, failure))
    if not sent.replayed:
        _log(console, request, sent.shipment_id, "Sent as a test.")
        messages.success(request, _("The test message is sent."))
    return console.to("change", sent.shipment_id)


def _told(console: Page, request: HttpRequest, failure: NotificationError) -> dict[str, object]:
    shipment_id = getattr(failure, "shipment_id", None)
    if shipment_id is not None:
        _log(console, request, shipment_id, f"Sent as a test: {type(failure).__name__}.")
    kinds = (kind for kind in type(failure).__mro__ if kind in WAYS_TO_FAIL)
    reason = getattr(failure, "reason", str(failure))
    return {
        "said": WAYS_TO_FAIL[next(kinds)],
        "why": words.REASONS.get(reason, reason),
        "shipment_id": shipment_id,
    }


def _log(console: Page, request: HttpRequest, shipment_id: UUID, said: str) -> None:
    console.log_addition(request, Shipment(pk=shipment_id), said)


def _preview(form: MessageForm) -> dict[str, object]:
    """How long it would be, whom it would reach, and by which gateways."""
    found: dict[str, object] = {}
    if form.channel is Channel.SMS:
        found |= {"length": sms.measure(form.text()), "costly": sms.costly(form.text())}
    to = form.cleaned_data.get("to")
    return found | _way(form.channel, to) if to else found


def _way(channel: Channel, to: str) -> dict[str, object]:
    goes_out = rules.gets_real_messages(to)
    route = settings.ROUTES.get(channel, ()) if goes_out else [settings.SANDBOX_GATEWAY]
    known = {each.alias: each for each in standings()}
    return {
        "region": rules.region_of(to) if channel is Channel.SMS else "",
        "has_sandbox": settings.SANDBOX_RECIPIENTS is not None,
        "goes_out": goes_out,
        "route": [(alias, known.get(alias)) for alias in route],
    }
