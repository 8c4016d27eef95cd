"""What a person may type, and what browsers are told about it."""

from typing import Any

import pytest

from instant_notifications.otp.forms import RequestCodeForm, VerifyCodeForm

EMAIL = "email"


@pytest.mark.parametrize(
    ("channel", "typed", "kept"),
    [
        ("sms", " +47 999 99 999 ", "+4799999999"),
        ("sms", "004799999999", "+4799999999"),
        (EMAIL, " kari@example.com ", "kari@example.com"),
        (EMAIL, "æge_sjøåsen@example.com", "æge_sjøåsen@example.com"),
    ],
)
def test_a_recipient_is_kept_in_one_spelling(channel: str, typed: str, kept: str) -> None:
    form = RequestCodeForm({"recipient": typed}, channel=channel)
    assert form.is_valid()
    assert form.cleaned_data["recipient"] == kept


def test_the_projects_own_region_needs_no_country_code(settings: Any) -> None:
    assert not RequestCodeForm({"recipient": "999 99 999"}).is_valid()
    settings.PHONENUMBER_DEFAULT_REGION = "NO"
    form = RequestCodeForm({"recipient": "999 99 999"})
    assert form.is_valid()
    assert form.cleaned_data["recipient"] == "+4799999999"
    assert not RequestCodeForm({"recipient": "x"}).is_valid()
    assert RequestCodeForm({"recipient": "+233242426224"}).is_valid()


@pytest.mark.parametrize(
    ("channel", "typed"), [("sms", "+4722225555"), ("sms", "kari@example.com"), (EMAIL, "kari@")]
)
def test_a_refusal_shows_what_is_expected(channel: str, typed: str) -> None:
    form = RequestCodeForm({"recipient": typed}, channel=channel)
    assert form.errors["recipient"] == [form.question.refusal]
    assert "as in" in form.errors["recipient"][0]


def test_phones_are_told_that_a_code_goes_here() -> None:
    written = str(VerifyCodeForm()["code"])
    for attribute in ('type="text"', 'inputmode="numeric"', 'autocomplete="one-time-code"'):
        assert attribute in written


@pytest.mark.parametrize(("channel", "kind"), [("sms", "tel"), (EMAIL, "text")])
def test_a_field_is_of_one_kind(channel: str, kind: str) -> None:
    written = str(RequestCodeForm(channel=channel)["recipient"])
    assert written.count(" type=") == written.count(f' type="{kind}"') == 1


def test_what_was_typed_for_a_code_is_not_sent_back() -> None:
    form = VerifyCodeForm({"code": "428516"})
    assert form.is_valid()
    assert "428516" not in str(form)


def test_errors_are_tied_to_their_field() -> None:
    form = RequestCodeForm({"recipient": "x"})
    written = form["recipient"].as_field_group()
    assert 'aria-invalid="true"' in written
    assert 'aria-describedby="id_recipient_helptext id_recipient_error"' in written
    assert str(form.question.refusal) in written


def test_a_code_may_be_pasted_with_whatever_surrounds_it() -> None:
    assert VerifyCodeForm({"code": " 4 2 8 - 5 1 6 \u2013 "}).is_valid()
    assert not VerifyCodeForm({"code": "4" * 65}).is_valid()
