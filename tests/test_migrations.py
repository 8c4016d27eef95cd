from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from instant_notifications.models import FeedEntry, uuid7

APPS = ("instant_notifications_otp", "instant_notifications_simulator", "instant_notifications")


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


@pytest.mark.django_db(transaction=True)
def test_entries_from_before_the_feed_knew_its_changes_are_told_apart() -> None:
    app = "instant_notifications"
    try:
        call_command("migrate", app, "0001", verbosity=0)
        old = MigrationExecutor(connection).loader.project_state((app, "0001_initial")).apps
        order = old.get_model(app, "Order").objects.create(id=uuid7(), creator="ttd")
        shipment = old.get_model(app, "Shipment").objects.create(
            id=uuid7(), order=order, creator="ttd", type="Instant"
        )
        for number in (1, 2):
            old.get_model(app, "FeedEntry").objects.create(
                creator="ttd",
                sequence_number=number,
                shipment=shipment,
                status="Order_Completed",
                recipients=[],
            )
    finally:
        call_command("migrate", verbosity=0)
    changes = FeedEntry.objects.order_by("pk").values_list("delivery_id", "revision")
    assert list(changes) == [(shipment.pk, 1), (shipment.pk, 2)]
