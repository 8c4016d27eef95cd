"""``manage.py create_console_groups``."""

import io

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


def create() -> str:
    out = io.StringIO()
    call_command("create_console_groups", stdout=out)
    return out.getvalue()


def permissions_of(name: str) -> set[str]:
    group = Group.objects.get(name=f"Notifications: {name}")
    return set(group.permissions.values_list("codename", flat=True))


def test_the_groups_are_made_once() -> None:
    assert "Notifications: viewer: made, +view_" in create()
    assert create().splitlines() == [
        f"Notifications: {name}: unchanged" for name in ("viewer", "operator", "auditor")
    ]
    viewer, operator, auditor = map(permissions_of, ("viewer", "operator", "auditor"))
    assert viewer < operator
    assert viewer < auditor
    assert {"resend_shipment", "switch_gatewaystate", "test_shipment"} <= operator - auditor
    assert {"reveal_shipment", "view_intervention"} <= auditor - operator
    assert not {each for each in operator | auditor if each.startswith(("add_", "delete_"))}


def test_they_are_brought_up_to_date_and_no_further() -> None:
    create()
    group = Group.objects.get(name="Notifications: viewer")
    member = User.objects.create_user("ola")
    member.groups.add(group)
    group.permissions.remove(Permission.objects.get(codename="view_shipment"))
    group.permissions.add(
        Permission.objects.get(codename="reveal_shipment"),
        Permission.objects.get(codename="view_user"),
    )
    told = create()
    assert "Notifications: viewer: changed, +view_shipment -reveal_shipment\n" in told
    assert "reveal_shipment" not in permissions_of("viewer")
    assert "view_user" in permissions_of("viewer")
    assert list(group.user_set.all()) == [member]


def test_without_its_permissions_it_says_what_to_do() -> None:
    Permission.objects.filter(codename="reveal_shipment").delete()
    with pytest.raises(CommandError, match=r"missing: reveal_shipment\. Run manage\.py migrate"):
        create()
    assert not Group.objects.exists()


def test_without_the_simulator_its_permission_is_not_asked_for(settings: object) -> None:
    Permission.objects.filter(codename="view_simulatedmessage").delete()
    settings.INSTALLED_APPS = [  # type: ignore[attr-defined]
        each
        for each in settings.INSTALLED_APPS
        if "simulator" not in each  # type: ignore[attr-defined]
    ]
    create()
    assert "view_simulatedmessage" not in permissions_of("viewer")
