"""What was asked for, what is sent, and what became of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy
from instant_notifications.conf import settings
from instant_notifications.fields import EncryptedTextField
from instant_notifications.models.databases import primary
from instant_notifications.models.identifiers import uuid7
from instant_notifications.rules import MAX_REFERENCE_LENGTH
from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Cause,
    Channel,
    Handover,
    Outcome,
    ShipmentType,
)

STATUS_LENGTH = 40
DIGEST_LENGTH = 64
ALIAS_LENGTH = 64
REFERENCE_LENGTH = 255
PART_LENGTH = 64
NAME_LENGTH = 150

SECRETS = ("destination", "content")
"""What only the hand-over needs of a delivery."""


def plain(words: Iterable[str]) -> list[str]:
    """The words as bare strings: a migration must not depend on the classes of today."""
    return [str(word) for word in words]


def choices(words: Iterable[str]) -> list[tuple[str, str]]:
    return [(word, word) for word in plain(words)]


class Order(models.Model):
    """What one request asked for. An instant one holds one shipment; a regular one holds one for
    each recipient, and more for reminders."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.CharField(_("organisation"), max_length=255)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    dialog = models.JSONField(null=True)
    """The ``dialogId`` and ``transmissionId`` that it belongs to, as the caller gave them."""

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")

    def __str__(self) -> str:
        return str(self.id)


class IdempotencyRecord(models.Model):
    """The order that an organisation's idempotency id stands for."""

    class Scope(models.TextChoices):
        """Ids of different scopes do not meet."""

        SMS = "sms"
        EMAIL = "email"
        ORDER = "order"
        """Regular orders, whatever their channels."""

    creator = models.CharField(_("organisation"), max_length=255)
    scope = models.CharField(max_length=16, choices=Scope)
    key = models.CharField(_("idempotency id"), max_length=MAX_REFERENCE_LENGTH)
    order = models.OneToOneField(Order, models.CASCADE, related_name="idempotency")
    fingerprint = models.CharField(max_length=DIGEST_LENGTH)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    repeated_at = models.DateTimeField(null=True)
    """When, to the minute, the id last came again and was answered with what had become of it."""

    class Meta:
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        constraints = [
            # The id comes first, so that it can be searched for alone.
            models.UniqueConstraint(
                fields=["key", "creator", "scope"], name="instant_idempotency_once"
            ),
            models.CheckConstraint(
                condition=models.Q(scope__in=["sms", "email", "order"]),
                name="instant_idempotency_scope",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.creator} {self.scope} {self.pk}"


class Shipment(models.Model):
    """What is sent together and reported on as one: the manifest's unit."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    order = models.ForeignKey(Order, models.CASCADE, related_name="shipments")
    creator = models.CharField(_("organisation"), max_length=255)
    type = models.CharField(max_length=16, choices=choices(ShipmentType))
    senders_reference = models.CharField(
        _("sender's reference"), max_length=MAX_REFERENCE_LENGTH, blank=True
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("shipment")
        verbose_name_plural = _("shipments")
        permissions = [
            ("resend_shipment", "Can send messages again"),
            ("end_shipment", "Can cancel and expire messages"),
            ("reveal_shipment", "Can see destinations and texts in clear"),
            ("export_shipment", "Can export messages"),
            ("test_shipment", "Can send test messages"),
        ]
        indexes = [
            models.Index(
                fields=["senders_reference"],
                condition=~models.Q(senders_reference=""),
                name="instant_shipment_reference",
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(type__in=plain(ShipmentType)), name="instant_shipment_type"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


def idle(now: datetime) -> models.Q:
    """Deliveries that no worker may be handing over."""
    return models.Q(lease_until__isnull=True) | models.Q(lease_until__lte=now)


def overdue(now: datetime) -> models.Q:
    """``Delivery.overdue``, for the database."""
    grace = timedelta(seconds=settings.EXPIRY_GRACE)
    return models.Q(idle(now), completed_at__isnull=True, expires_at__lt=now - grace)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def without_secrets(self) -> Self:
        """Leaves out what only the hand-over needs, and its decryption."""
        return self.defer(*SECRETS)

    def as_recorded(self) -> Self:
        """What it takes to write a change down, as it stands where changes are written."""
        return self.using(primary()).without_secrets().select_related("shipment")

    def to(self, destination: str) -> Self:
        """Deliveries to this address, whichever key was in force when they were made."""
        return self.filter(destination_digest__in=privacy.digests(destination))


class Delivery(models.Model):
    """One message to one recipient: the row that is reserved, handed over and reported on."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    """Also the reference we give to the gateway."""
    shipment = models.ForeignKey(Shipment, models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=8, choices=choices(Channel))
    destination = EncryptedTextField(null=True, editable=False)
    destination_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, db_index=True)
    content = EncryptedTextField(null=True, editable=False)
    segments = models.PositiveSmallIntegerField(_("SMS parts"), null=True)
    secret = models.BooleanField(default=False)
    """Its content is erased as soon as it can no longer be needed."""
    status = models.CharField(max_length=STATUS_LENGTH, choices=choices(STAGES))
    handover = models.CharField(max_length=16, choices=choices(Handover))
    attempts = models.PositiveIntegerField(default=0)
    """Hand-overs begun. Its value is the fence: only the latest may speak for the delivery."""
    may_have_left = models.BooleanField(default=False)
    """An earlier attempt ended in doubt, so that no later one's "no" is certain any more."""
    revision = models.PositiveIntegerField(default=0)
    """Counts the writes, so that nobody writes over what they have not seen."""
    lease_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField(_("due"), null=True)
    """When a worker is to hand it over; of instant messages their senders see to that."""
    claimed_until = models.DateTimeField(null=True)
    """A queue has been told of it, and is not told again before."""
    daytime = models.BooleanField(default=False)
    """It may only be handed over when its recipient is likely to be awake."""
    gateway = models.CharField(max_length=ALIAS_LENGTH, blank=True)
    gateway_reference = models.CharField(max_length=REFERENCE_LENGTH, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("last update"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))
    completed_at = models.DateTimeField(_("completed"), null=True)
    """When the last word was spoken; nothing but a correction comes after it."""

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        # The partial ones hold only what upkeep still has to do, however large the table.
        indexes = [
            models.Index(
                fields=["gateway_reference", "gateway"], name="instant_delivery_reference"
            ),
            models.Index(
                fields=["lease_until"],
                condition=models.Q(lease_until__isnull=False),
                name="instant_delivery_leased",
            ),
            models.Index(
                fields=["due_at"],
                condition=models.Q(due_at__isnull=False),
                name="instant_delivery_due",
            ),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(completed_at__isnull=True),
                name="instant_delivery_incomplete",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(content__isnull=False),
                name="instant_delivery_content",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(content__isnull=False, secret=True),
                name="instant_delivery_secret",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(destination__isnull=False),
                name="instant_delivery_destination",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(channel__in=plain(Channel)), name="instant_delivery_channel"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=plain(STAGES)), name="instant_delivery_status"
            ),
            models.CheckConstraint(
                condition=models.Q(handover__in=plain(Handover)), name="instant_delivery_handover"
            ),
            models.CheckConstraint(
                condition=models.Q(segments__gte=1) | models.Q(segments__isnull=True),
                name="instant_delivery_segments",
            ),
            models.CheckConstraint(
                condition=models.Q(handover="under_way", lease_until__isnull=False)
                | (
                    ~models.Q(handover=Handover.UNDER_WAY.value)
                    & models.Q(lease_until__isnull=True)
                ),
                name="instant_delivery_lease",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def leased(self) -> bool:
        """A worker may be handing it over at this moment."""
        return self.lease_until is not None and self.lease_until > timezone.now()

    @property
    def unsent(self) -> bool:
        """It certainly was not sent, and still could be."""
        return self.handover == Handover.OPEN and self.completed_at is None

    @property
    def overdue_at(self) -> datetime:
        """When a missing last word begins to mean that none will come."""
        return self.expires_at + timedelta(seconds=settings.EXPIRY_GRACE)

    def overdue(self, now: datetime) -> bool:
        """Expired, the grace included, with no last word and no hand-over under way."""
        return self.completed_at is None and self.overdue_at < now and not self.leased

    def status_at(self, now: datetime) -> str:
        """The true word at this moment, even before the sweep has written it down."""
        return WORDS[Channel(self.channel)].expired if self.overdue(now) else self.status


class StatusEvent(models.Model):
    """One line of a delivery's history: a change, a call of a gateway, a receipt."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    from_status = models.CharField(max_length=STATUS_LENGTH)
    to_status = models.CharField(max_length=STATUS_LENGTH)
    cause = models.CharField(max_length=16, choices=choices(Cause))
    attempt = models.PositiveIntegerField(null=True)
    gateway = models.CharField(max_length=ALIAS_LENGTH, blank=True)
    outcome = models.CharField(max_length=16, choices=choices(Outcome), blank=True)
    """Of a line about a gateway that was to take the message: what came of it."""
    started_at = models.DateTimeField(null=True)
    duration = models.DurationField(null=True)
    gateway_word = models.CharField(_("gateway's own word"), max_length=255, blank=True)
    reported_status = models.CharField(max_length=STATUS_LENGTH, blank=True)
    """Our word for what a receipt said, whether or not the delivery came to show it."""
    part = models.CharField(max_length=PART_LENGTH, blank=True)
    """Which part of a long SMS the receipt was about."""

    class Meta:
        verbose_name = _("status event")
        verbose_name_plural = _("status events")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(from_status__in=plain(STAGES))
                & models.Q(to_status__in=plain(STAGES)),
                name="instant_event_status",
            ),
            models.CheckConstraint(
                condition=models.Q(cause__in=plain(Cause)), name="instant_event_cause"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_status} → {self.to_status}"
