"""Every address of the example project: who is answered, what is believed, where it leads."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from instant_notifications.api.views import ContractView
from instant_notifications.models import uuid7
from tests.console import furnish, walk

pytestmark = pytest.mark.django_db

Route = tuple[str, str, Any]
"""Its name, an address of it, and its view."""

NOBODYS: Final = str(uuid7())
SAMPLES: Final[Mapping[str, str]] = {"id": "1", "key": "1", "gateway": "simulator", "url": "x"}


def routes(patterns: Any = None, prefix: str = "/", namespace: str = "") -> Iterator[Route]:
    for each in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(each, URLResolver):
            inside = f"{namespace}{each.namespace}:" if each.namespace else namespace
            yield from routes(each.url_patterns, prefix + str(each.pattern), inside)
        else:
            yield f"{namespace}{each.name or ''}", prefix + _sample(each), _view(each)


def _sample(route: URLPattern) -> str:
    written = str(route.pattern)
    if written.startswith("^"):
        return "instant_notifications/" if "app_label" in written else "x"
    for name, converter in route.pattern.converters.items():
        kind = next(key for key in ("int", "uuid", "path", "str", "") if _is(converter, key))
        marker = f"<{kind}:{name}>" if f"<{kind}:{name}>" in written else f"<{name}>"
        value = SAMPLES.get(name, "1" if kind == "int" else NOBODYS)
        written = written.replace(marker, value)
    return written


def _is(converter: Any, kind: str) -> bool:
    return type(converter).__name__.lower().startswith(kind)


def _view(route: URLPattern) -> Any:
    return getattr(route.callback, "cls", None) or route.callback


OF_API: Final = "instant_notifications:"
PUBLISHED: Final = (
    {"instant_notifications:schema", "instant_notifications:swagger"}
    if apps.is_installed("drf_spectacular")
    else set[str]()
)
"""What the API looks like is no secret."""
BY_HAND: Final = {"get_code", "enter_code", "number_verified"}
"""The pages on which somebody gets a code."""
# The nameless ones of Django's admin only put a slash, or "change", behind an address.
NAMELESS: Final = "admin:"
LOG_IN: Final = "/admin/login/"
TO_THE_START: Final = "/admin/"


def is_answered(answer: Any) -> bool:
    location = answer.headers.get("Location", "")
    sent_away = location == TO_THE_START or location.startswith(LOG_IN)
    return not sent_away and answer.status_code not in {401, 403, 404, 405}


def session_of(role: str, **options: Any) -> Client:
    """A new one each time, so that one page does not open the next."""
    client = Client(raise_request_exception=False, **options)
    if role != "stranger":
        is_root = role == "superuser"
        defaults = {"is_staff": True, "is_superuser": is_root}
        client.force_login(User.objects.get_or_create(username=role, defaults=defaults)[0])
    return client


OPEN: Final[Mapping[tuple[str, str], set[str]]] = {
    ("stranger", "get"): {"admin:login", *BY_HAND, *PUBLISHED},
    ("stranger", "post"): {"admin:login", "get_code", "enter_code"},
    ("newcomer", "get"): {
        *("admin:index", "admin:jsi18n", "admin:password_change", "admin:password_change_done"),
        *BY_HAND,
        *PUBLISHED,
    },
    ("newcomer", "post"): {
        *("admin:index", "admin:password_change", "admin:login", "admin:logout"),
        *("get_code", "enter_code"),
    },
}
"""What answers anybody, and what answers the staff without any permission of ours."""


@pytest.mark.parametrize(("role", "method"), OPEN, ids=[" ".join(each) for each in OPEN])
def test_nobody_gets_further_than_the_table_says(role: str, method: str) -> None:
    answers = {name: getattr(session_of(role), method)(at) for name, at, _ in routes()}
    assert {name for name, answer in answers.items() if answer.status_code >= 500} == set()
    answered = {name for name, answer in answers.items() if is_answered(answer)}
    assert answered - {NAMELESS} == OPEN[role, method]


def test_to_be_logged_in_is_no_token() -> None:
    addresses = {at for name, at, view in routes() if is_of_api(view)}
    assert len(addresses) > 10
    for at in addresses:
        assert session_of("superuser").get(at).status_code == 401


def is_of_api(view: Any) -> bool:
    return isinstance(view, type) and issubclass(view, APIView)


NAMED: Final = (
    *("authentication_classes", "permission_classes", "parser_classes", "renderer_classes"),
    *("content_negotiation_class", "throttle_classes", "versioning_class", "metadata_class"),
    "get_exception_handler",
)


def test_each_view_of_the_api_leaves_nothing_to_the_host() -> None:
    views = [view for _, _, view in routes() if is_of_api(view)]
    assert views
    for view in views:
        ours = [each for each in view.__mro__ if each.__module__.startswith("instant_notif")]
        assert issubclass(view, ContractView)
        for name in NAMED:
            assert any(name in vars(each) for each in ours), (view, name)
            assert getattr(view, name) is getattr(ContractView, name), (view, name)


def test_no_form_is_taken_without_its_token() -> None:
    """But where nothing hangs on a cookie: a token of the API, or a gateway's signature."""
    client = session_of("superuser", enforce_csrf_checks=True)
    answers = {name: client.post(at).status_code for name, at, _ in routes()}
    of_api = {name for name in answers if name.startswith(OF_API)}
    assert {answers[name] for name in answers.keys() - of_api} == {403}
    assert {answers[name] for name in of_api - PUBLISHED} == {401}


EVIL: Final = "evil.example"
ELSEWHERE: Final = (f"https://{EVIL}/", f"//{EVIL}/", f"/\\{EVIL}/", f"https:{EVIL}")
PARAMETERS: Final = (
    *("next", "url", "to", "return", "returnUrl", "redirect", "redirect_to", "continue", "back"),
    *("success_url", "request_url", "_changelist_filters", "q", "source"),
)


class Tempting(Client):
    """Says in each form, and in the headers of each request, where it would like to be led."""

    def post(self, path: str, data: Any = None, **named: Any) -> Any:  # type: ignore[override]
        return super().post(path, dict.fromkeys(PARAMETERS, ELSEWHERE[0]) | (data or {}), **named)


def led_to(answer: Any) -> str:
    return str(urlsplit(answer.headers.get("Location", "")).netloc)


def test_no_form_leads_elsewhere() -> None:
    furnish()
    written = {"referer": ELSEWHERE[0], "x-forwarded-host": EVIL, "origin": ELSEWHERE[0]}
    client = Tempting(headers=written)
    client.force_login(User.objects.create_superuser("root"))
    visits = list(walk(client, "/admin/"))
    acts = [visit for visit in visits if visit.method == "post" and visit.answer.status_code == 302]
    assert len(acts) > 3
    assert {led_to(visit.answer) for visit in visits} <= {"", "testserver"}


def test_no_address_leads_elsewhere() -> None:
    client = session_of("newcomer", headers={"x-forwarded-host": EVIL})
    for written in ELSEWHERE:
        said = dict.fromkeys(PARAMETERS, written)
        for name, address, _ in routes():
            if name != "admin:logout":
                answer = client.get(address, said, headers={"referer": written})
                assert led_to(answer) in {"", "testserver"}, name


def test_who_logs_in_is_not_led_elsewhere() -> None:
    User.objects.create_superuser("root", password="open sesame")
    for written in ELSEWHERE:
        form = {"username": "root", "password": "open sesame", "next": written}
        answer = Client().post(LOG_IN, form)
        assert (answer.status_code, urlsplit(answer["Location"]).netloc) == (302, "")


def test_no_page_can_be_framed_sniffed_or_kept_nor_shows_anything_in_clear() -> None:
    furnish()
    visits = list(walk(session_of("superuser"), "/admin/"))
    assert len(visits) > 30
    masked = 0
    for visit in visits:
        headers = visit.answer.headers
        assert headers["X-Frame-Options"] == "DENY", visit.path
        assert headers["X-Content-Type-Options"] == "nosniff", visit.path
        assert headers["Referrer-Policy"] == "same-origin", visit.path
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", visit.path
        assert "no-store" in headers["Cache-Control"], visit.path
        if visit.method == "get" and not visit.answer.streaming:
            page = visit.answer.content.decode()
            masked += "+47 ** ** ** 66" in page
            if not SHOWN_IN_CLEAR.search(visit.path):
                assert not [each for each in IN_CLEAR if each in page], visit.path
    assert masked


SHOWN_IN_CLEAR: Final = re.compile(r"/simulatedmessage/|/contactentry/\d+/change/")
"""What would arrive, and what somebody is about to correct."""
IN_CLEAR: Final = ("428516", "<p>for you</p>", "01017012345")
"""Of what ``furnish`` has sent, and of whom it knows; numbers stand in the forms, too."""


def test_no_page_with_a_code_is_kept() -> None:
    for name, address, _ in routes():
        if name in {"get_code", "enter_code"}:
            assert "no-store" in Client().get(address)["Cache-Control"]
