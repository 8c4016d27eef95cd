"""``manage.py create_console_groups``: who may do what in the console, as three groups."""

from collections.abc import Collection, Mapping, Set
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, router, transaction

SIMULATOR: Final = "instant_notifications_simulator"
CODES: Final = "instant_notifications_otp"
APPS: Final = ("instant_notifications", SIMULATOR, CODES)

VIEWER: Final = {
    "view_challenge",
    "view_contactentry",
    "view_figures",
    "view_gatewaystate",
    "view_hold",
    "view_listentry",
    "view_shipment",
    "view_simulatedmessage",
    "view_unmatchedreceipt",
}
GROUPS: Final[Mapping[str, Set[str]]] = {
    "Notifications: viewer": VIEWER,
    "Notifications: operator": VIEWER
    | {
        "change_simulatedmessage",
        "end_shipment",
        "export_shipment",
        "keep_listentry",
        "match_unmatchedreceipt",
        "release_hold",
        "resend_shipment",
        "switch_gatewaystate",
        "test_shipment",
    },
    "Notifications: auditor": VIEWER | {"export_shipment", "reveal_shipment", "view_intervention"},
}
OF_OPTIONAL_APPS: Final[Mapping[str, Set[str]]] = {
    SIMULATOR: {"change_simulatedmessage", "view_simulatedmessage"},
    CODES: {"view_challenge"},
}


class Command(BaseCommand):
    """Members, other groups and the permissions of other apps are left alone."""

    help = "Makes the console's groups, or brings their permissions up to date."

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        known = _known()
        wanted = {*VIEWER.union(*GROUPS.values())} - _left_out()
        if missing := wanted - known.keys():
            raise CommandError(
                f"These permissions are missing: {', '.join(sorted(missing))}. "
                "Run manage.py migrate first. Nothing was changed."
            )
        with transaction.atomic(using=router.db_for_write(Group)):
            for name, codenames in GROUPS.items():
                self._bring_up_to_date(name, {known[each] for each in codenames & wanted})

    def _bring_up_to_date(self, name: str, wanted: Collection[Permission]) -> None:
        group, is_new = Group.objects.get_or_create(name=name)
        ours = group.permissions.filter(content_type__app_label__in=APPS)
        added, removed = set(wanted) - set(ours), set(ours) - set(wanted)
        group.permissions.add(*added)
        group.permissions.remove(*removed)
        self.stdout.write(f"{name}: {_told(is_new, added, removed)}")


def _known() -> Mapping[str, Permission]:
    """The permissions of our apps by codename, which names the model as well."""
    ours = Permission.objects.filter(content_type__app_label__in=APPS)
    try:
        return {each.codename: each for each in ours}
    except DatabaseError:
        raise CommandError(
            "The database has no permissions. Run manage.py migrate first."
        ) from None


def _left_out() -> Set[str]:
    installed = {app.label for app in apps.get_app_configs()}
    absent = (theirs for app, theirs in OF_OPTIONAL_APPS.items() if app not in installed)
    return set().union(*absent)


def _told(is_new: bool, added: Collection[Permission], removed: Collection[Permission]) -> str:
    signed = [f"+{each.codename}" for each in added] + [f"-{each.codename}" for each in removed]
    if not signed:
        return "unchanged"
    return f"{'made' if is_new else 'changed'}, {' '.join(sorted(signed))}"
