"""A console with something on each of its pages, and a walk through all of them."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.models import Permission, User
from django.db import models
from django.test import Client
from django.utils import timezone

import instant_notifications
from instant_notifications import health, otp
from instant_notifications.contacts import local
from instant_notifications.exceptions import HandoverFailed
from instant_notifications.gateways import Receipt
from instant_notifications.guard import lists, refusals
from instant_notifications.models import (
    ContactEntry,
    Delivery,
    Figures,
    GatewayState,
    Hold,
    Intervention,
    Notice,
    Plan,
    uuid7,
)
from instant_notifications.orders import Reminder, cancel_order, interventions, send_email, send_sms
from instant_notifications.planning.planner import end
from instant_notifications.receipts import record_receipt
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import Ended
from tests import regular

OURS: Final = (
    "instant_notifications",
    "instant_notifications_simulator",
    "instant_notifications_otp",
)


def somebody(*permissions: str, name: str = "ola") -> Client:
    """Of the staff, logged in, who may do this and nothing else."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def furnish() -> None:
    """A row in every table that has a page, and messages of many fates."""
    for number in (*["+4799887766"] * 2, *(f"+479000000{fate}" for fate in (2, 5, 6, 7))):
        with contextlib.suppress(HandoverFailed):
            send_sms(number, "Your code is 428516", senders_reference="ref-1")
    send_email("kari@example.com", "A word", "<p>for you</p>", content_type="Html")
    otp.issue("+4799887765", purpose="login")
    deliver_due_receipts()
    record_receipt("link", Receipt(gateway_reference="nobodys-17", word="DELIVRD"))
    health.switch_off("mail", by="ola", because="the invoice")
    GatewayState.objects.get_or_create(alias="simulator")
    interventions.reveal(Delivery.objects.all()[0].pk, by="ola", because="a complaint")
    assert Intervention.objects.exists()
    Hold.objects.get_or_create(subject="+479988", defaults={"sent": 40, "verified": 1})
    released = {
        "released_at": timezone.now(),
        "released_by": "ola",
        "released_because": "a complaint",
    }
    Hold.objects.get_or_create(subject="NO", defaults={"sent": 40, "verified": 1, **released})
    lists.add("allow", "recipient", "+4799887766", by="ola", because="the test phone")
    refusals.count(refusals.HELD)
    furnish_orders()
    local.keep(
        [
            ContactEntry(
                kind="person",
                number="01017012345",
                name="Kari Nordmann",
                phone_numbers=["+4799887766"],
                email_addresses=["kari@example.com"],
            )
        ]
    )
    Figures.objects.get_or_create(began_at=timezone.now(), defaults={"last_event": 0, "sums": {}})


def furnish_orders() -> None:
    """Regular orders: one that waits with its reminder, and others that have ended in each way."""
    later = timezone.now() + timedelta(days=3)
    dialog = {"dialogId": str(uuid7()), "transmissionId": str(uuid7())}
    reminder = Reminder(days=2, sms=regular.DAYTIME, email=regular.EMAIL)
    regular.order(at=later, reminders=[reminder], dialog=dialog, condition="https://example.com")
    regular.sent(regular.order([regular.PHONE, regular.MAILBOX], senders_reference="ref-1"))
    unreachable = regular.order(iter([regular.PERSON]))
    regular.sent(unreachable)
    refused = regular.order(condition="https://example.com")
    Notice.objects.filter(order=refused.order_id).update(condition_met=False)
    end(regular.shipments(refused), Ended.CONDITION_NOT_MET)
    cancelled = regular.order(at=later)
    cancel_order("local", cancelled.order_id, by="ola", because="a complaint")


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    method: str = "get"


@dataclass
class Markup(HTMLParser):
    """What a page leads to, and what a strict Content-Security-Policy would not run."""

    links: list[str] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        attrs = {name: value or "" for name, value in attributes}
        self._note_forbidden(tag, attrs)
        self.links += [attrs[name] for name in ("href", "src", "formaction") if name in attrs]
        if tag == "form":
            self.forms.append(Form(attrs.get("action", ""), {}, attrs.get("method", "get").lower()))
        elif "name" in attrs and self.forms:
            filled = attrs.get("value") or "+4799887766"
            self.forms[-1].fields.setdefault(attrs["name"], filled)

    def _note_forbidden(self, tag: str, attrs: Mapping[str, str]) -> None:
        is_code = tag == "script" and attrs.get("type") != "application/json"
        if tag == "style" or (is_code and not attrs.get("src")):
            self.forbidden.append(f"<{tag}>")
        for name, value in attrs.items():
            if name == "style" or name.startswith("on") or value.lower().startswith("javascript:"):
                self.forbidden.append(f'<{tag} {name}="{value}">')


@dataclass(frozen=True)
class Visit:
    """A page, how one got there, and what it says."""

    path: str
    method: str
    answer: Any
    markup: Markup


# To log out or to change a password would end the walk; the pages of users are not ours.
NOT_OURS: Final = re.compile(r"/(logout|password_change|auth|jsi18n|r|login)/|^/$|^/static/")


def walk(client: Client, root: str) -> Iterator[Visit]:
    """Follow every link and press every button, once for each kind of page and filter.

    What a page leads on to is a kind of its own: it is not for the code's message, which its code
    leads to and nobody may send again, to stand for the messages. Nor is it for one shipment of a
    regular order to stand for those whose plan has ended otherwise.
    """
    waiting: list[tuple[str, str, dict[str, str]]] = [("get", root, {})]
    led_to = set()
    seen = set()
    while waiting:
        method, url, data = waiting.pop(0)
        kind = (method, url in led_to, _kind(url), _plan(url), *sorted(data))
        if kind in seen or NOT_OURS.search(url) or "&" in url:
            continue
        seen.add(kind)
        answer = getattr(client, method)(url, data)
        markup = Markup()
        if "text/html" in answer.headers.get("Content-Type", "") and not answer.streaming:
            markup.feed(answer.content.decode())
        yield Visit(url, method, answer, markup)
        if location := answer.headers.get("Location"):
            led_to.add(location)
            waiting.append(("get", location, {}))
        here = url.partition("?")[0]
        links = [link for link in markup.links if link and not link.startswith("#")]
        waiting += [("get", _from(here, link), {}) for link in links]
        waiting += [(form.method, _from(here, form.action), form.fields) for form in markup.forms]


def _kind(url: str) -> str:
    path, _, query = url.partition("?")
    names = sorted(each.partition("=")[0] for each in query.split("&"))
    return re.sub(r"[0-9a-f-]{36}|\d+", "#", path) + "?" + "&".join(names)


def _plan(url: str) -> str | None:
    """How the plan of the shipment has ended that the page is about."""
    key = re.search("/shipment/([0-9a-f-]{36})/", url)
    plans = Plan.objects.filter(pk=key[1]) if key else Plan.objects.none()
    return plans.values_list("ended", flat=True).first()


def _from(here: str, link: str) -> str:
    return here + link if not link or link.startswith("?") else link


def templates_of_pages() -> set[str]:
    """Ours within Django's admin."""
    folder = Path(instant_notifications.__file__).parent / "templates"
    return {str(each.relative_to(folder)) for each in folder.glob("admin/**/*.html")}


def rows(*tables: type[models.Model]) -> list[Any]:
    return [list(table._default_manager.order_by("pk").values()) for table in tables]
