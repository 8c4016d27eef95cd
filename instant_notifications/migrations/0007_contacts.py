import django.utils.timezone
from django.db import migrations, models

import instant_notifications.fields


class Migration(migrations.Migration):
    dependencies = [("instant_notifications", "0006_guard")]

    operations = [
        migrations.CreateModel(
            name="ContactEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("person", "person"),
                            ("organisation", "organisation"),
                            ("external", "external identity"),
                        ],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "number",
                    instant_notifications.fields.EncryptedTextField(
                        null=True, verbose_name="number"
                    ),
                ),
                (
                    "name",
                    instant_notifications.fields.EncryptedTextField(
                        blank=True, null=True, verbose_name="name"
                    ),
                ),
                (
                    "phone_numbers",
                    instant_notifications.fields.EncryptedListField(
                        blank=True, default=list, verbose_name="mobile numbers"
                    ),
                ),
                (
                    "email_addresses",
                    instant_notifications.fields.EncryptedListField(
                        blank=True, default=list, verbose_name="e-mail addresses"
                    ),
                ),
                (
                    "reserved",
                    models.BooleanField(
                        default=False,
                        help_text="They have asked for no digital letters.",
                        verbose_name="reserved",
                    ),
                ),
                (
                    "confirmed_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        help_text="When somebody last said that this is still right.",
                        verbose_name="confirmed",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created"
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="changed"
                    ),
                ),
            ],
            options={
                "verbose_name": "contact",
                "verbose_name_plural": "contacts",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["person", "organisation", "external"])),
                        name="instant_contact_kind",
                    )
                ],
            },
        )
    ]
