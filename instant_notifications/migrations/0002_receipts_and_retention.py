import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from instant_notifications.migrations import _gentle as gentle

BATCH = 5000


def tell_entries_apart(apps, schema_editor):
    """Entries from before do not know their change; their number tells them apart."""
    if gentle.is_postgresql(schema_editor):
        let_the_release_before_write_on(schema_editor)
    entries = apps.get_model("instant_notifications", "FeedEntry").objects
    rows = entries.using(schema_editor.connection.alias).order_by("pk")
    done = 0
    while keys := rows.filter(pk__gt=done).values_list("pk", flat=True)[:BATCH]:
        batch, done = rows.filter(pk__gt=done, pk__lte=max(keys)), max(keys)
        batch.filter(delivery_id__isnull=True).update(
            delivery_id=models.F("shipment_id"), revision=models.F("sequence_number")
        )


def let_the_release_before_write_on(schema_editor):
    """It knows nothing of changes, so the database makes one up for each of its entries."""
    gentle.run(
        schema_editor,
        # At once: an entry with one of them would be taken for one that is filled in.
        "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT gen_random_uuid(),"
        " ALTER COLUMN {} SET DEFAULT 0",
        "instant_notifications_feedentry",
        "delivery_id",
        "revision",
    )


class Migration(gentle.Migration):
    dependencies = [("instant_notifications", "0001_initial")]

    operations = [
        gentle.CreateModel(
            name="UnmatchedReceipt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("gateway", models.CharField(max_length=64)),
                ("gateway_reference", models.CharField(blank=True, max_length=255)),
                (
                    "reference",
                    models.CharField(blank=True, max_length=64, verbose_name="our reference"),
                ),
                ("status", models.CharField(blank=True, max_length=40)),
                (
                    "word",
                    models.CharField(blank=True, max_length=255, verbose_name="gateway's own word"),
                ),
                ("part", models.CharField(blank=True, max_length=64)),
                ("parts", models.PositiveSmallIntegerField(null=True)),
                (
                    "received_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="received"
                    ),
                ),
            ],
            options={
                "verbose_name": "unmatched receipt",
                "verbose_name_plural": "unmatched receipts",
            },
        ),
        gentle.AddField(
            model_name="delivery", name="secret", field=models.BooleanField(default=False)
        ),
        gentle.AddField(
            model_name="feedentry",
            name="delivery_id",
            field=models.UUIDField(editable=False, null=True),
        ),
        gentle.AddField(
            model_name="feedentry", name="revision", field=models.PositiveBigIntegerField(null=True)
        ),
        migrations.RunPython(tell_entries_apart, migrations.RunPython.noop, atomic=False),
        gentle.AlterFieldToNotNull(
            model_name="feedentry", name="delivery_id", field=models.UUIDField(editable=False)
        ),
        gentle.AlterFieldToNotNull(
            model_name="feedentry", name="revision", field=models.PositiveBigIntegerField()
        ),
        gentle.AddField(
            model_name="statusevent", name="part", field=models.CharField(blank=True, max_length=64)
        ),
        gentle.AddField(
            model_name="statusevent",
            name="reported_status",
            field=models.CharField(blank=True, max_length=40),
        ),
        gentle.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("lease_until__isnull", False)),
                fields=["lease_until"],
                name="instant_delivery_leased",
            ),
        ),
        gentle.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("completed_at__isnull", True)),
                fields=["expires_at"],
                name="instant_delivery_incomplete",
            ),
        ),
        gentle.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("content__isnull", False)),
                fields=["created_at"],
                name="instant_delivery_content",
            ),
        ),
        gentle.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("content__isnull", False), ("secret", True)),
                fields=["created_at"],
                name="instant_delivery_secret",
            ),
        ),
        gentle.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("destination__isnull", False)),
                fields=["created_at"],
                name="instant_delivery_destination",
            ),
        ),
        gentle.AddConstraint(
            model_name="feedentry",
            constraint=models.UniqueConstraint(
                fields=("shipment", "delivery_id", "revision"), name="instant_feed_change"
            ),
        ),
        gentle.AddConstraint(
            model_name="unmatchedreceipt",
            constraint=models.UniqueConstraint(
                fields=("gateway", "gateway_reference", "reference", "word", "part", "status"),
                name="instant_unmatched_once",
            ),
        ),
        gentle.AlterForeignKeyToUnindexed(
            model_name="feedentry",
            name="shipment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="feed_entries",
                to="instant_notifications.shipment",
            ),
        ),
    ]
