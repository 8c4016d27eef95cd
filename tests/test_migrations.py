from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

APPS = ("instant_notifications_simulator", "instant_notifications")


def ours() -> set[str]:
    return {name for name in connection.introspection.table_names() if name.startswith("instant_")}


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_every_migration_goes_back_and_forth_again() -> None:
    before = ours()
    assert before
    try:
        for app in APPS:
            call_command("migrate", app, "zero", verbosity=0)
        assert ours() == set()
    finally:
        call_command("migrate", verbosity=0)
    assert ours() == before


@pytest.mark.django_db
def test_no_setting_changes_the_schema(settings: Any) -> None:
    settings.DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    settings.INSTANT_NOTIFICATIONS = {}
    call_command("makemigrations", *APPS, check=True, dry_run=True, stdout=StringIO())
