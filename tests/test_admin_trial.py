"""The page for test messages: the preview, and the message sent for real."""

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instant_notifications import health
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.models import Shipment
from tests.outcomes import fails, in_turn
from tests.stub import StubGateway, take
from tests.test_admin_acts import text_of

pytestmark = pytest.mark.django_db

PAGE: Final = reverse("admin:instant_notifications_shipment_test")
CURLY: Final = "\N{RIGHT SINGLE QUOTATION MARK}"
SECRETS: Final = ("99887766", "998 87 766", "kari.nordmann", "428516", "A word for you")

Form = Callable[..., dict[str, str]]


def sms(**changes: str) -> dict[str, str]:
    return {
        "channel": "sms",
        "form_id": str(uuid4()),
        "to": "+47 998 87 766",
        "sender": "",
        "body": "Your code is 428516",
        "time_to_live": "300",
        **changes,
    }


def email(**changes: str) -> dict[str, str]:
    return {
        "channel": "email",
        "form_id": str(uuid4()),
        "to": "kari.nordmann@example.com",
        "sender": "",
        "subject": "A word for you",
        "body": "It is 428516",
        "content_type": "Html",
        **changes,
    }


@pytest.fixture
def operator(stub: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ola"))
    return client


def previewed(client: Client, form: dict[str, str]) -> str:
    return text_of(client.post(PAGE, {**form, "only": "preview"}))


def send(client: Client, form: dict[str, str]) -> Any:
    return client.post(PAGE, {**form, "send": "yes"})


def story() -> str:
    shipment = Shipment.objects.get()
    return reverse("admin:instant_notifications_shipment_change", args=[shipment.pk])


@pytest.mark.parametrize("channel", ["sms", "email", "pigeon"])
def test_each_channel_has_a_form_of_its_own(channel: str, operator: Client) -> None:
    html = operator.get(PAGE, {"channel": channel}).content.decode()
    assert ('name="subject"' in html) == (channel == "email")
    assert ('name="time_to_live"' in html) == (channel != "email")
    assert 'name="secret"' not in html


@pytest.mark.parametrize("form", [sms, email])
def test_it_is_sent_and_leads_to_its_story(form: Form, operator: Client) -> None:
    assert send(operator, form()).headers["Location"] == story()
    message = StubGateway.seen[0]
    assert message.destination in ("+4799887766", "kari.nordmann@example.com")
    assert message.body == form()["body"]
    assert message.content_type == form().get("content_type", "Plain")
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("ola", str(Shipment.objects.get().pk))
    assert not [secret for secret in SECRETS if secret in f"{entry.object_repr}{entry}"]


def test_a_double_click_sends_once(operator: Client) -> None:
    form = sms()
    for _ in range(2):
        assert send(operator, form).headers["Location"] == story()
    assert len(StubGateway.seen) == LogEntry.objects.count() == 1


def test_a_corrected_message_is_another_one(operator: Client, stub: Any) -> None:
    stub.do = in_turn(fails(Rejected), take)
    form = sms(to="+4790000001")
    assert "refused for good" in text_of(send(operator, form))
    assert send(operator, {**form, "to": "+4799887766"}).status_code == 302
    assert [message.destination for message in StubGateway.seen] == ["+4790000001", "+4799887766"]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Rejected, "refused for good"),
        (Unavailable, "It was not sent; you may send it again."),
        (OutcomeUnknown, "It may have been sent"),
    ],
)
def test_a_failure_is_told_in_plain_words(
    failure: Any, told: str, operator: Client, stub: Any
) -> None:
    stub.do = fails(failure, "HTTP 418")
    answer = send(operator, sms())
    assert told in text_of(answer)
    assert "HTTP 418" in text_of(answer)
    html = answer.content.decode()
    assert f'<a href="{story()}">' in html
    assert "Your code is 428516" in html  # nothing is lost
    assert LogEntry.objects.get().object_id == str(Shipment.objects.get().pk)


def test_without_a_route_it_says_so(operator: Client, configure: Any) -> None:
    configure(ROUTES={"sms": []})
    assert "No gateway carries this yet." in previewed(operator, sms())
    assert "It was not sent." in text_of(send(operator, sms()))
    assert not Shipment.objects.exists()


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (sms(to="+47 22 22 22 22"), "Recipient phone number is not a valid mobile number."),
        (sms(to=""), "This field is required."),
        (sms(to="+46701740605"), "in a region that is not allowed."),
        (sms(body="x" * 5000), "The Text field needs 33 SMS parts; at most 16 are allowed."),
        (sms(time_to_live="5"), "Time-to-live must be between"),
        (sms(time_to_live="soon"), "Enter a whole number."),
        (sms(sender="Skatteetaten"), "This sender is not approved"),
        (sms(form_id="x"), "Enter a valid UUID."),
        (email(to="kari@"), "Invalid email address format."),
        (email(subject="a" * 999), "must be at most 998 characters."),
        (email(content_type="Pdf"), "Select a valid choice."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_told_beside_its_field(
    form: dict[str, str], complaint: str, operator: Client, configure: Any
) -> None:
    configure(ALLOWED_REGIONS=["NO"], APPROVED_SENDERS={"local": {"sms": ["Altinn"]}})
    assert complaint in text_of(send(operator, form))
    assert not Shipment.objects.exists()


def test_the_preview_counts_and_names_what_costs(operator: Client) -> None:
    seen = previewed(operator, sms(body="Æ\r\n€"))
    assert "Alphabet GSM-7 Units 4 Parts 1 Left in the last part 156" in seen
    assert "€ U+20AC EURO SIGN 1 counts twice" in seen
    seen = previewed(operator, sms(body=CURLY * 2 + "\N{SEE-NO-EVIL MONKEY}€" + "a" * 70))
    assert "Alphabet UCS-2 Units 75 Parts 2 Left in the last part 59" in seen
    assert f"{CURLY} U+2019 RIGHT SINGLE QUOTATION MARK 2 is not in GSM-7" in seen
    assert "U+1F648 SEE-NO-EVIL MONKEY 1 is not in GSM-7, and counts twice" in seen
    assert "€ U+20AC EURO SIGN 1 is not" not in seen


def test_the_preview_tells_the_way(operator: Client, configure: Any) -> None:
    configure(ROUTES={"sms": ["stub", "second"], "email": ["stub"]})
    health.switch_off("stub", because="x")
    seen = previewed(operator, sms())
    assert "region NO" in seen
    assert "There is none: it takes the ordinary route." in seen
    assert "stub: switched off second: well" in seen
    configure(SANDBOX_RECIPIENTS=["+4799887766"], SANDBOX_GATEWAY="box")
    assert "on its list: it takes the ordinary route." in previewed(operator, sms())
    seen = previewed(operator, email())
    assert "kept in the sandbox. Gateways box: is not in the settings" in seen


@pytest.mark.parametrize("form", [sms, email])
def test_a_preview_sends_nothing_and_loses_nothing(form: Form, operator: Client) -> None:
    html = operator.post(PAGE, {**form(), "preview": "yes"}).content.decode()
    assert all(value in html for value in form(form_id="").values())
    assert "of the right form" in html or "region NO" in html
    assert "<html" not in operator.post(PAGE, {**form(), "only": "preview"}).content.decode()
    assert not Shipment.objects.exists()


def test_a_look_sends_nothing(operator: Client) -> None:
    assert "428516" not in operator.get(PAGE, {**sms(), "send": "yes"}).content.decode()
    assert not Shipment.objects.exists()


def test_a_preview_takes_the_same_few_queries(operator: Client, configure: Any) -> None:
    counts = set()
    for several in (1, 30):
        aliases = [f"g{number}" for number in range(several)]
        stubs = {alias: {"BACKEND": "tests.stub.StubGateway"} for alias in aliases}
        configure(GATEWAYS=stubs, ROUTES={"sms": aliases})
        with CaptureQueriesContext(connection) as queries:
            previewed(operator, sms())
        counts.add(len(queries))
    assert len(counts) == 1
    assert counts.pop() <= 4


def test_an_error_report_tells_nothing_of_it(operator: Client, monkeypatch: Any) -> None:
    seen = []
    monkeypatch.setattr(
        "instant_notifications.admin.trial._preview", lambda form: seen.append(form.data)
    )
    request = operator.post(PAGE, {**sms(), "only": "preview"}).wsgi_request
    assert seen
    assert request.sensitive_post_parameters == "__ALL__"
