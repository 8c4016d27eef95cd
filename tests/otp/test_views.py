"""The two pages: where to send a code, and the code."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth import get_user
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import got_request_exception
from django.db import connection
from django.forms import Form
from django.test import Client
from django.urls import include, path
from django.utils.translation import override
from django.views.debug import ExceptionReporter

from example_project.codes import EnterCode
from instant_notifications.exceptions import NotConfigured, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.models import Delivery
from instant_notifications.otp.models import Challenge
from instant_notifications.otp.views import SESSION_NAME, RequestCodeView, VerifyCodeView, duration
from tests.clock import Clock
from tests.otp.test_challenges import PHONE, Stub, sent_code, wrong
from tests.outcomes import fails
from tests.test_docs import of_role

pytestmark = pytest.mark.django_db

GET_CODE, ENTER_CODE, DONE = "/codes/", "/codes/enter/", "/codes/done/"


class Careless(EnterCode):
    def verified(self, challenge: Challenge) -> None:
        raise RuntimeError("a bug of the host's")


class KnownNumber(RequestCodeView):
    """Nobody types anything: it is theirs who is logged in."""

    purpose = "example"
    success_url = ENTER_CODE
    form_class = Form

    def recipient(self, form: Form) -> str:
        return PHONE


urlpatterns = [
    path("known/", KnownNumber.as_view()),
    path("careless/", Careless.as_view()),
    path("mail/", RequestCodeView.as_view(purpose="mail", channel="email", success_url=ENTER_CODE)),
    path("", include("example_project.urls")),
]


def ask(client: Client, recipient: str = PHONE, **more: Any) -> Any:
    return client.post(GET_CODE, {"recipient": recipient}, **more)


def enter(client: Client, code: str, **more: Any) -> Any:
    return client.post(ENTER_CODE, {"code": code}, **more)


def resend(client: Client) -> Any:
    return client.post(ENTER_CODE, {"resend": ""})


def leads_to(answer: Any, address: str) -> bool:
    return (answer.status_code, answer.headers.get("Location")) == (302, address)


def test_a_number_then_its_code(client: Client, stub: Stub) -> None:
    assert leads_to(ask(client), ENTER_CODE)
    page = client.get(ENTER_CODE).content.decode()
    assert "+47 ** ** ** 99" in page
    assert leads_to(enter(client, sent_code(stub)), DONE)
    assert "+47 ** ** ** 99 is yours" in client.get(DONE).content.decode()


def test_neither_page_nor_session_holds_the_number_or_the_code(client: Client, stub: Stub) -> None:
    ask(client)
    told = client.get(ENTER_CODE).content.decode() + str(dict(client.session))
    assert PHONE not in told
    assert sent_code(stub) not in told


def test_a_right_code_is_good_once_and_renews_the_session(client: Client, stub: Stub) -> None:
    ask(client)
    before = client.session.session_key
    enter(client, sent_code(stub))
    assert client.session.session_key != before
    assert leads_to(enter(client, sent_code(stub)), GET_CODE)
    assert leads_to(client.get(ENTER_CODE), GET_CODE)


def test_a_wrong_code_tells_what_is_left_and_not_what_was_typed(client: Client, stub: Stub) -> None:
    ask(client)
    guess = wrong(sent_code(stub))
    pages = [enter(client, guess).content.decode() for _ in range(3)]
    assert "You can try 2 more times." in pages[0]
    assert "You can try 1 more time." in pages[1]
    assert "This code was tried too often." in pages[2]
    assert 'name="code"' not in pages[2]
    assert all(guess not in page for page in pages)
    assert leads_to(client.get(ENTER_CODE), GET_CODE)


def test_a_code_that_is_too_old_can_be_renewed(client: Client, stub: Stub, clock: Clock) -> None:
    ask(client)
    clock.go(timedelta(seconds=300))
    assert "This code is too old." in enter(client, sent_code(stub)).content.decode()
    assert leads_to(resend(client), ENTER_CODE)
    assert leads_to(enter(client, sent_code(stub)), DONE)


def test_a_new_code_may_be_asked_for_after_a_pause(
    client: Client, stub: Stub, clock: Clock
) -> None:
    ask(client)
    assert "in 30 seconds" in client.get(ENTER_CODE).content.decode()
    clock.go(timedelta(seconds=10))
    assert "in 20 seconds" in resend(client).content.decode()
    assert len(stub.seen) == 1
    clock.go(timedelta(seconds=20))
    assert leads_to(resend(client), ENTER_CODE)
    assert len(stub.seen) == 2


def test_a_newer_code_elsewhere_ends_the_resending_here(
    client: Client, stub: Stub, clock: Clock
) -> None:
    ask(client)
    clock.go(timedelta(seconds=30))
    ask(Client())
    assert leads_to(resend(client), GET_CODE)


@pytest.mark.parametrize(
    ("failure", "told"),
    [(Rejected, "Check the number or the address"), (Unavailable, "Try again in a moment.")],
)
def test_it_is_told_that_a_code_could_not_be_sent(
    failure: Any, told: str, client: Client, stub: Stub, clock: Clock
) -> None:
    stub.do = fails(failure, "x")
    page = ask(client).content.decode()
    assert "The code could not be sent." in page
    assert told in page
    assert leads_to(client.get(ENTER_CODE), GET_CODE)


def test_the_guard_counts_the_address_and_its_answer_is_told(
    client: Client, stub: Stub, configure: Any
) -> None:
    configure(LIMITS={"address": (1, 3600)})
    ask(client)
    assert "You can ask for a new code in" in ask(client, "+4799999998").content.decode()
    assert leads_to(ask(Client(REMOTE_ADDR="192.0.2.7"), "+4799999998"), ENTER_CODE)


def test_a_resend_that_fails_is_told_and_leads_to_the_start(
    client: Client, stub: Stub, clock: Clock
) -> None:
    ask(client)
    clock.go(timedelta(seconds=30))
    stub.do = fails(Unavailable, "x")
    page = resend(client).content.decode()
    assert "The code could not be sent." in page
    assert 'name="code"' not in page
    assert f'href="{GET_CODE}"' in page


def test_a_code_in_doubt_may_take_a_moment(client: Client, stub: Stub) -> None:
    stub.do = fails(OutcomeUnknown, "x")
    ask(client)
    assert "It may take a moment." in client.get(ENTER_CODE).content.decode()
    assert leads_to(enter(client, sent_code(stub)), DONE)


def test_a_message_that_could_not_be_delivered_is_told(client: Client, stub: Stub) -> None:
    ask(client)
    assert "could not be delivered" not in client.get(ENTER_CODE).content.decode()
    Delivery.objects.update(status="SMS_Failed_Undelivered")
    assert "could not be delivered" in client.get(ENTER_CODE).content.decode()


def test_who_asks_twice_is_led_to_the_code_that_is_on_its_way(client: Client, stub: Stub) -> None:
    ask(client)
    assert leads_to(ask(client), ENTER_CODE)
    assert len(stub.seen) == 1
    assert "You can ask for a new code in 30 seconds." in ask(Client()).content.decode()


def test_another_number_voids_the_first_code(client: Client, stub: Stub) -> None:
    ask(client)
    first = sent_code(stub)
    ask(client, "+4799999998")
    assert "This is not the code." in enter(client, first).content.decode()
    assert leads_to(enter(client, sent_code(stub)), DONE)


def test_a_code_belongs_to_the_session_that_asked_for_it(client: Client, stub: Stub) -> None:
    ask(client)
    code, thief = sent_code(stub), Client()
    ask(thief, "+4799999998")
    session = thief.session
    place = f"{SESSION_NAME} for example"
    session[place] = client.session[place]
    session.save()
    assert "no longer valid" in enter(thief, code).content.decode()
    assert leads_to(enter(client, code), DONE)


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_it_works_wherever_sessions_are_kept(
    engine: str, client: Client, stub: Stub, settings: Any
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    ask(client)
    client.get(ENTER_CODE)
    assert leads_to(enter(client, sent_code(stub)), DONE)


@pytest.mark.django_db(transaction=True)
def test_it_works_where_requests_are_transactions(
    client: Client, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert leads_to(ask(client), ENTER_CODE)
    assert leads_to(enter(client, sent_code(stub)), DONE)


def test_nobody_has_to_be_logged_in(client: Client, stub: Stub, settings: Any) -> None:
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    assert leads_to(ask(client), ENTER_CODE)
    assert client.get(ENTER_CODE).status_code == 200


def test_nothing_is_kept_by_browsers_nor_posted_from_elsewhere(stub: Stub, settings: Any) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "Csrf" not in each]
    client = Client(enforce_csrf_checks=True)
    assert ask(client).status_code == 403
    assert "no-store" in client.get(GET_CODE).headers["Cache-Control"]
    assert "no-store" in client.get(ENTER_CODE).headers["Cache-Control"]


@pytest.fixture
def reports() -> Iterator[list[str]]:
    """What Django would write of the errors to come."""
    written: list[str] = []

    def report(request: Any, **kwargs: Any) -> None:
        reporter = ExceptionReporter(request, *sys.exc_info())
        written.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    got_request_exception.connect(report)
    yield written
    got_request_exception.disconnect(report)


@pytest.mark.urls(__name__)
def test_a_report_of_a_bug_holds_neither_code_nor_number(
    client: Client, stub: Stub, reports: list[str]
) -> None:
    ask(client)
    with pytest.raises(RuntimeError):
        client.post("/careless/", {"code": sent_code(stub)})
    assert "a bug of the host" in reports[0]
    assert sent_code(stub) not in reports[0]
    assert PHONE not in reports[0]


def test_a_report_of_a_missing_gateway_holds_no_number(
    client: Client, reports: list[str], configure: Any
) -> None:
    configure(ROUTES={})
    with pytest.raises(NotConfigured):
        ask(client)
    assert "NotConfigured" in reports[0]
    assert PHONE not in reports[0]


@pytest.mark.urls(__name__)
def test_a_number_that_is_known_is_not_asked_for(client: Client, stub: Stub) -> None:
    assert 'name="recipient"' not in client.get("/known/").content.decode()
    assert leads_to(client.post("/known/"), ENTER_CODE)
    assert leads_to(enter(client, sent_code(stub)), DONE)


@pytest.mark.urls(__name__)
def test_codes_go_out_by_mail_as_well(client: Client, stub: Stub) -> None:
    assert 'inputmode="email"' in client.get("/mail/").content.decode()
    answer = client.post("/mail/", {"recipient": "kari@example.com"})
    assert leads_to(answer, ENTER_CODE)
    assert stub.seen[-1].destination == "kari@example.com"


def test_the_pages_of_the_guide_log_somebody_in(
    client: Client, stub: Stub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = of_role("urls.py", "first-code.md")
    guide = ModuleType("guide")
    vars(guide)["urlpatterns"] = []
    exec(block.text, vars(guide))
    monkeypatch.setitem(sys.modules, "guide", guide)
    settings.ROOT_URLCONF = "guide"
    assert leads_to(client.post("/login/", {"recipient": PHONE}), "/login/code/")
    assert leads_to(client.post("/login/code/", {"code": sent_code(stub)}), "/")
    assert get_user(client).get_username() == PHONE


def test_a_page_without_a_purpose_is_a_mistake() -> None:
    with pytest.raises(ImproperlyConfigured, match="VerifyCodeView needs a purpose"):
        VerifyCodeView.as_view()


@pytest.mark.parametrize(("language", "told"), [("nb", "sekunder"), ("nn", "Stadfest")])
def test_the_pages_speak_the_readers_language(
    language: str, told: str, client: Client, stub: Stub, settings: Any
) -> None:
    settings.LANGUAGES = [("en", "English"), ("nb", "bokmål"), ("nn", "nynorsk")]
    with override(language):  # so that the next test has its own again
        ask(client, headers={"accept-language": language})
        page = client.get(ENTER_CODE, headers={"accept-language": language}).content.decode()
    assert f'<html lang="{language}">' in page
    assert told in page
    assert "Koden din er" in stub.seen[-1].body


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (121, "3 minutes"),
        (7199, "2 hours"),
        (7201, "3 hours"),
    ],
)
def test_a_wait_is_told_in_words_and_never_too_short(seconds: int, words: str) -> None:
    assert duration(seconds) == words
    with override("nb"):
        assert duration(seconds) != words
