import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


def tell_old_entries_apart(apps, schema_editor):
    """Entries from before do not know their change; their number tells them apart."""
    entries = apps.get_model("instant_notifications", "FeedEntry").objects
    entries.using(schema_editor.connection.alias).update(
        delivery_id=models.F("shipment_id"), revision=models.F("sequence_number")
    )


class Migration(migrations.Migration):
    dependencies = [("instant_notifications", "0001_initial")]

    operations = [
        migrations.CreateModel(
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
        migrations.AddField(
            model_name="delivery", name="secret", field=models.BooleanField(default=False)
        ),
        migrations.AddField(
            model_name="feedentry",
            name="delivery_id",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="feedentry", name="revision", field=models.PositiveBigIntegerField(null=True)
        ),
        migrations.RunPython(tell_old_entries_apart, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="feedentry", name="delivery_id", field=models.UUIDField(editable=False)
        ),
        migrations.AlterField(
            model_name="feedentry", name="revision", field=models.PositiveBigIntegerField()
        ),
        migrations.AddField(
            model_name="statusevent", name="part", field=models.CharField(blank=True, max_length=64)
        ),
        migrations.AddField(
            model_name="statusevent",
            name="reported_status",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("lease_until__isnull", False)),
                fields=["lease_until"],
                name="instant_delivery_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("completed_at__isnull", True)),
                fields=["expires_at"],
                name="instant_delivery_incomplete",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("content__isnull", False)),
                fields=["created_at"],
                name="instant_delivery_content",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("content__isnull", False), ("secret", True)),
                fields=["created_at"],
                name="instant_delivery_secret",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("destination__isnull", False)),
                fields=["created_at"],
                name="instant_delivery_destination",
            ),
        ),
        migrations.AddConstraint(
            model_name="feedentry",
            constraint=models.UniqueConstraint(
                fields=("shipment", "delivery_id", "revision"), name="instant_feed_change"
            ),
        ),
        migrations.AddConstraint(
            model_name="unmatchedreceipt",
            constraint=models.UniqueConstraint(
                fields=("gateway", "gateway_reference", "reference", "word", "part", "status"),
                name="instant_unmatched_once",
            ),
        ),
        migrations.AlterField(
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
