import pytest
from hypothesis import given
from hypothesis import strategies as st

from instant_notifications import keywords, recipients, rules
from instant_notifications.keywords import fill
from instant_notifications.recipients import Recipient
from instant_notifications.rules import Broken
from instant_notifications.sms import measure

BOTH = "To $recipientName$ ($recipientNumber$)"
PERSON = recipients.person("01010112345")
ORGANISATION = recipients.organisation("987654321", "Email")
EXTERNAL = recipients.external("urn:altinn:username:kari")
PHONE = recipients.phone("+4799999999")
MAILBOX = recipients.mailbox("kari@example.com")


def filled(text: str, recipient: Recipient = ORGANISATION, name: str = "Bø AS") -> str:
    body = fill({"body": text}, recipient, name=name)["body"]
    assert isinstance(body, str)
    return body


def email(body: str, content_type: str = "Plain") -> dict[str, str]:
    return {"subject": body, "body": body, "content_type": content_type, "sender": body}


def test_an_organisation_is_told_its_name_and_number() -> None:
    assert filled(BOTH) == "To Bø AS (987654321)"


@pytest.mark.parametrize("recipient", [PERSON, EXTERNAL], ids=["person", "external"])
def test_a_person_is_told_the_name_and_no_number(recipient: Recipient) -> None:
    assert filled(BOTH, recipient, "Kari Nordmann") == "To Kari Nordmann ()"


@pytest.mark.parametrize("recipient", [PHONE, MAILBOX], ids=["phone", "mailbox"])
def test_for_a_phone_or_a_mailbox_nothing_is_filled_in(recipient: Recipient) -> None:
    assert filled(BOTH, recipient, "Kari Nordmann") == BOTH


@pytest.mark.parametrize("name", ["", "  ", "\r\n\0"], ids=ascii)
def test_a_name_nobody_knows_is_left_as_it_is(name: str) -> None:
    assert filled(BOTH, ORGANISATION, name) == "To $recipientName$ (987654321)"
    assert filled(BOTH, PERSON, name) == "To $recipientName$ ()"


def test_keywords_are_filled_in_wherever_they_stand() -> None:
    assert filled("$recipientName$$recipientNumber$$recipientName$") == "Bø AS987654321Bø AS"
    assert filled("$recipientName$recipientName$") == "Bø ASrecipientName$"
    assert filled("costs $5, $recipientName$!") == "costs $5, Bø AS!"


@pytest.mark.parametrize(
    "text", ["$recipientname$", "$RecipientName$", "$RECIPIENTNUMBER$", "recipientName", "$name$"]
)
def test_nothing_else_is_a_keyword(text: str) -> None:
    assert filled(text) == text


def test_only_subject_and_body_are_filled_in() -> None:
    content = fill(email("$recipientName$"), ORGANISATION, name="Bø AS")
    assert content == {**email("Bø AS"), "sender": "$recipientName$"}
    assert list(content) == list(email(""))
    sms = {"body": "$recipientName$", "sender": "$recipientName$", "daytime": True}
    assert fill(sms, ORGANISATION, name="Bø AS") == {**sms, "body": "Bø AS"}


def test_what_was_given_is_not_changed() -> None:
    content = email(BOTH)
    fill(content, ORGANISATION, name="Bø AS")
    assert content == email(BOTH)


def test_a_name_that_looks_like_a_keyword_is_only_a_name() -> None:
    assert filled("$recipientName$", name="$recipientNumber$") == "$recipientNumber$"
    assert filled("$recipientName$", name=r"\1\g<0>$0") == r"\1\g<0>$0"
    parts = "$recipient$recipientName$Number$"
    assert filled(parts, PERSON, "Name") == "$recipientNameNumber$"


def test_a_name_is_escaped_in_a_body_of_html_and_nowhere_else() -> None:
    name, escaped = "<b>Ola & 'Kari' \"AS\"", "&lt;b&gt;Ola &amp; &#x27;Kari&#x27; &quot;AS&quot;"
    html = fill(email("$recipientName$", "Html"), ORGANISATION, name=name)
    assert (html["subject"], html["body"]) == (name, escaped)
    plain = fill(email("$recipientName$", "Plain"), ORGANISATION, name=name)
    assert (plain["subject"], plain["body"]) == (name, name)
    assert filled("$recipientName$", name=name) == name


def test_the_text_around_a_name_is_html_already() -> None:
    html = fill(email("<p>Dear $recipientName$</p>", "Html"), ORGANISATION, name="A & B")
    assert html["body"] == "<p>Dear A &amp; B</p>"


@pytest.mark.parametrize(
    "name",
    [
        "Kari\r\nBcc: everybody@example.com",
        "Kari\N{LINE SEPARATOR}Bcc: everybody@example.com",
        "\0Kari\x1b \x85 Bcc: everybody@example.com\ud800\t\n",
    ],
    ids=ascii,
)
def test_a_name_stands_on_one_line(name: str) -> None:
    content = fill(email("$recipientName$"), PERSON, name=name)
    assert content["subject"] == content["body"] == "Kari Bcc: everybody@example.com"


@given(st.text())
def test_whatever_the_name_a_text_that_can_be_sent_comes_out(name: str) -> None:
    content = fill(email(f"Dear {keywords.NAME}", "Html"), PERSON, name=name)
    assert rules.email_subject(content["subject"], "subject") == content["subject"]
    assert rules.email_body(content["body"], "body") == content["body"]
    assert not {*"<>\"'"} & {*content["body"]}


@given(st.text(), st.text(st.sampled_from("$recipientNameumb ")))
def test_what_holds_no_keyword_stays_as_it_is(text: str, like_a_keyword: str) -> None:
    for each in (text, like_a_keyword):
        if keywords.NAME not in each and keywords.NUMBER not in each:
            assert filled(each) == each


def test_a_long_name_shows_when_the_text_is_measured_again() -> None:
    body = filled("Dear $recipientName$", PERSON, "x" * 16 * 153)
    assert measure(body).parts > rules.MAX_PARTS
    with pytest.raises(Broken):
        rules.sms_body(body, "body")


def test_a_text_of_nothing_but_a_persons_number_shows_as_blank() -> None:
    with pytest.raises(Broken):
        rules.sms_body(filled("$recipientNumber$", PERSON), "body")
