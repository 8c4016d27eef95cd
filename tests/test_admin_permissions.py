"""Who may do what in the console: one table for every route of it, and nothing beside the table."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db.models import Q
from django.test import Client
from django.urls import reverse

from instant_notifications.models import Delivery
from tests.console import OURS, furnish, rows

pytestmark = pytest.mark.django_db

NOBODY: Final = frozenset[str]()
OPERATOR: Final = frozenset({"operator", "superuser"})
AUDITOR: Final = frozenset({"auditor", "superuser"})
EITHER: Final = OPERATOR | AUDITOR
READER: Final = EITHER | {"viewer"}
ROOT: Final = frozenset({"superuser"})
ROLES: Final = ("anonymous", "newcomer", "viewer", "operator", "auditor", "superuser")

# Who gets an answer other than "no" by GET, and who by POST.
Answered = tuple[frozenset[str], frozenset[str]]
OF_DJANGO: Final[Mapping[str, Answered]] = {
    "changelist": (READER, READER),
    "change": (READER, NOBODY),
    "history": (READER, READER),
    "add": (NOBODY, NOBODY),
    "delete": (NOBODY, NOBODY),
}
MODELS: Final = (
    "challenge",
    "contactentry",
    "figures",
    "gatewaystate",
    "hold",
    "listentry",
    "shipment",
    "simulatedmessage",
    "unmatchedreceipt",
)
TABLE: Final[Mapping[str, Answered]] = {
    **{f"{model}_{view}": who for model in MODELS for view, who in OF_DJANGO.items()},
    **{
        f"intervention_{view}": (get & AUDITOR, post & AUDITOR)
        for view, (get, post) in OF_DJANGO.items()
    },
    "contactentry_add": (ROOT, ROOT),
    "contactentry_change": (READER, ROOT),
    "contactentry_delete": (ROOT, ROOT),
    "contactentry_search": (NOBODY, READER),
    "gatewaystate_switch": (NOBODY, OPERATOR),
    "hold_release": (NOBODY, OPERATOR),
    "listentry_include": (NOBODY, OPERATOR),
    "listentry_remove": (NOBODY, OPERATOR),
    "shipment_cancel": (NOBODY, OPERATOR),
    "shipment_cancel-review": (NOBODY, OPERATOR),
    "shipment_expire": (NOBODY, OPERATOR),
    "shipment_expire-review": (NOBODY, OPERATOR),
    "shipment_export": (NOBODY, EITHER),
    "shipment_resend": (NOBODY, OPERATOR),
    "shipment_resend-review": (NOBODY, OPERATOR),
    "shipment_reveal": (NOBODY, AUDITOR),
    "shipment_search": (NOBODY, READER),
    "shipment_test": (OPERATOR, OPERATOR),
    "simulatedmessage_deliver": (NOBODY, OPERATOR),
    "simulatedmessage_search": (NOBODY, READER),
    "unmatchedreceipt_match": (OPERATOR, OPERATOR),
    "unmatchedreceipt_matched": (NOBODY, OPERATOR),
}


NEEDS: Final[Mapping[str, str]] = {
    "contactentry_add": "add_contactentry",
    "contactentry_change": "change_contactentry",
    "contactentry_delete": "delete_contactentry",
    "gatewaystate_switch": "switch_gatewaystate",
    "hold_release": "release_hold",
    "listentry_include": "keep_listentry",
    "listentry_remove": "keep_listentry",
    "shipment_cancel": "end_shipment",
    "shipment_cancel-review": "end_shipment",
    "shipment_expire": "end_shipment",
    "shipment_expire-review": "end_shipment",
    "shipment_export": "export_shipment",
    "shipment_resend": "resend_shipment",
    "shipment_resend-review": "resend_shipment",
    "shipment_reveal": "reveal_shipment",
    "shipment_test": "test_shipment",
    "simulatedmessage_deliver": "change_simulatedmessage",
    "unmatchedreceipt_match": "match_unmatchedreceipt",
    "unmatchedreceipt_matched": "match_unmatchedreceipt",
}
"""What somebody must have, besides a view of everything, to act by POST."""


def routes() -> Iterator[tuple[str, str]]:
    """The name in the table, and the address, of each route of each of our pages."""
    for model, page in admin.site._registry.items():
        if model._meta.app_label not in OURS:
            continue
        known = {
            "object_id": model._default_manager.order_by("pk").first().pk,
            "delivery_id": Delivery.objects.all()[0].pk,
        }
        known["key"] = known["object_id"]
        for route in page.get_urls():
            if route.name:  # the nameless one of Django leads to `change`
                names = route.pattern.converters
                address = reverse(
                    f"admin:{route.name}", kwargs={name: known[name] for name in names}
                )
                yield route.name.removeprefix(f"{model._meta.app_label}_"), address


@pytest.fixture
def furnished() -> None:
    furnish()
    call_command("create_console_groups", verbosity=0)


def client_of(role: str, **options: Any) -> Client:
    client = Client(**options)
    if role != "anonymous":
        is_root = role == "superuser"
        user = User.objects.create_user(role, is_staff=True, is_superuser=is_root)
        user.groups.set(Group.objects.filter(name=f"Notifications: {role}"))
        client.force_login(user)
    return client


def is_answered(answer: Any) -> bool:
    to_log_in = answer.headers.get("Location", "").startswith(reverse("admin:login"))
    return not to_log_in and answer.status_code not in {403, 405}


@pytest.mark.usefixtures("furnished")
def test_every_route_is_in_the_table() -> None:
    assert sorted(name for name, _ in routes()) == sorted(TABLE)


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("role", ROLES)
def test_each_may_do_what_the_table_says_and_a_look_changes_nothing(role: str) -> None:
    client = client_of(role)
    tables = [model for label in OURS for model in apps.get_app_config(label).get_models()]
    before = rows(*tables, LogEntry)
    looks = {name: is_answered(client.get(address)) for name, address in routes()}
    assert rows(*tables, LogEntry) == before
    assert looks == {name: role in by_get for name, (by_get, _) in TABLE.items()}
    acts = {name: is_answered(client.post(address)) for name, address in routes()}
    assert acts == {name: role in by_post for name, (_, by_post) in TABLE.items()}


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("codename", sorted(set(NEEDS.values())))
def test_each_permission_opens_its_own_doors_only(codename: str) -> None:
    user = User.objects.create_user("ola", is_staff=True)
    ours = Permission.objects.filter(content_type__app_label__in=OURS)
    able = ours.filter(Q(codename__startswith="view_") | Q(codename=codename))
    user.user_permissions.set(able)
    client = Client()
    client.force_login(user)
    answered = {name for name, address in routes() if is_answered(client.post(address))}
    assert answered & NEEDS.keys() == {name for name in NEEDS if NEEDS[name] == codename}


@pytest.mark.usefixtures("furnished")
def test_nothing_is_done_without_the_token_of_a_form() -> None:
    client = client_of("superuser", enforce_csrf_checks=True)
    answers = {name: client.post(address).status_code for name, address in routes()}
    assert set(answers.values()) == {403}, answers
