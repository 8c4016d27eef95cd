"""What a person is asked for: where to send a code, and the code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import phonenumbers
from django import forms
from django.conf import settings as django_settings
from django.utils.translation import gettext_lazy as _

from instant_notifications import rules
from instant_notifications.otp.codes import LONGEST_WRITTEN
from instant_notifications.statuses import Channel

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


# The digits and dashes of any script: the code is read as people type it.
CODE_PATTERN: Final = r"[\p{Nd}\p{Pd}\s]*"


@dataclass(frozen=True, slots=True)
class Question:
    """How to ask for a recipient. ``refusal`` tells what a good answer looks like."""

    label: "_StrPromise"
    help_text: "_StrPromise"
    refusal: "_StrPromise"
    rule: rules.Rule
    attributes: Mapping[str, str]
    input_type: str = "text"


QUESTIONS: Final[Mapping[Channel, Question]] = {
    Channel.SMS: Question(
        label=_("Mobile number"),
        help_text=_("With the country code, as in +47 999 99 999."),
        refusal=_(
            "This is not a mobile number that codes can be sent to. Write it with the country "
            "code, as in +47 999 99 999."
        ),
        rule=rules.mobile_number,
        attributes={"autocomplete": "tel"},
        input_type="tel",
    ),
    # Not type="email": browsers refuse addresses in letters that are none of English.
    Channel.EMAIL: Question(
        label=_("E-mail address"),
        help_text=_("As in name@example.com."),
        refusal=_("This is not an e-mail address. Write it as in name@example.com."),
        rule=rules.email_address,
        attributes={"inputmode": "email", "autocomplete": "email"},
    ),
}


class RequestCodeForm(forms.Form):
    """Asks where to send a code; ``cleaned_data["recipient"]`` is as it will be kept."""

    recipient = forms.CharField(max_length=320)

    def __init__(self, *args: Any, channel: str = Channel.SMS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.question = QUESTIONS[Channel(channel)]
        field = self.fields["recipient"]
        field.label, field.help_text = self.question.label, self.question.help_text
        field.widget.attrs |= self.question.attributes
        field.widget.input_type = self.question.input_type

    def clean_recipient(self) -> str:
        written = self.cleaned_data["recipient"]
        if self.question.rule is rules.mobile_number:
            written = _international(written)
        try:
            recipient: str = self.question.rule(written, "recipient")
        except rules.Broken:
            raise forms.ValidationError(self.question.refusal) from None
        return recipient


def _international(written: str) -> str:
    """With a country code: that of the project's own region, where none is written."""
    region = getattr(django_settings, "PHONENUMBER_DEFAULT_REGION", None)
    if not region or written.startswith(("+", "00")):
        return written
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return written
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


class VerifyCodeForm(forms.Form):
    """Asks for the code. Phones offer to fill it in."""

    code = forms.CharField(
        label=_("Code"),
        max_length=LONGEST_WRITTEN,
        # A password input is never sent back with what was typed; this one can be read meanwhile.
        widget=forms.PasswordInput(
            attrs={
                "type": "text",
                "inputmode": "numeric",
                "autocomplete": "one-time-code",
                "autocapitalize": "off",
                "spellcheck": "false",
                "autofocus": True,
                "pattern": CODE_PATTERN,
                "title": _("The digits of the code"),
            }
        ),
    )
