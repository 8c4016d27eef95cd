"""What is to be sent later, or to whom somebody else must tell how: regular orders until they fall
due."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.fields import EncryptedTextField
from instant_notifications.models.orders import (
    DIGEST_LENGTH,
    NAME_LENGTH,
    REFERENCE_LENGTH,
    Order,
    Shipment,
    choices,
    plain,
)
from instant_notifications.statuses import Ended


class Notice(models.Model):
    """What an order is to tell, when, and on what condition: its message, or one of its reminders.

    Each recipient of it has a shipment.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="notices", db_index=False)
    place = models.PositiveSmallIntegerField()
    """0 for the message itself; its reminders follow."""
    requested_at = models.DateTimeField(_("requested send time"))
    content = EncryptedTextField(null=True, editable=False)
    """The texts by channel, before keywords are filled in; erased once nobody needs it."""
    condition = EncryptedTextField(null=True, editable=False)
    """The address that is asked whether it is to be sent at all."""
    condition_asked_at = models.DateTimeField(null=True)
    """When it gave no usable answer."""
    condition_met = models.BooleanField(null=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        constraints = [
            models.UniqueConstraint(fields=["order", "place"], name="instant_notice_place")
        ]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=Q(content__isnull=False),
                name="instant_notice_content",
            )
        ]

    def __str__(self) -> str:
        return f"{self.order_id} {self.place}"


class Plan(models.Model):
    """One shipment that has no deliveries yet: for whom it is and when somebody has to see to it.

    The row is the truth: a queue may forget that it was told of it.
    """

    shipment = models.OneToOneField(Shipment, models.CASCADE, primary_key=True, related_name="plan")
    notice = models.ForeignKey(Notice, models.CASCADE, related_name="plans")
    recipient = EncryptedTextField(null=True, editable=False)
    """A ``recipients.Recipient``; erased when it has ended."""
    recipient_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, db_index=True)
    due_at = models.DateTimeField(_("due"), null=True)
    """``None`` when it has ended."""
    claimed_until = models.DateTimeField(null=True)
    """A queue has been told of it, and is not told again before."""
    postponed = models.PositiveSmallIntegerField(default=0)
    """How often the contact register could not be asked."""
    ended = models.CharField(max_length=24, blank=True, choices=choices(Ended))
    ended_at = models.DateTimeField(null=True)
    recalled_at = models.DateTimeField(null=True)
    """When it was called off, though part of it had left: that is not tried again."""
    ended_by = models.CharField(max_length=NAME_LENGTH, blank=True)
    """The person who has cancelled it; blank if its caller did."""
    ended_because = models.CharField(max_length=REFERENCE_LENGTH, blank=True)

    class Meta:
        verbose_name = _("plan")
        verbose_name_plural = _("plans")
        constraints = [
            models.CheckConstraint(
                condition=Q(ended="", due_at__isnull=False, ended_at__isnull=True)
                | Q(
                    ended__in=plain(Ended),
                    due_at__isnull=True,
                    claimed_until__isnull=True,
                    ended_at__isnull=False,
                ),
                name="instant_plan_ended",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="instant_plan_due"
            ),
            models.Index(
                fields=["ended_at"],
                condition=~Q(recipient_digest="") & Q(ended_at__isnull=False),
                name="instant_plan_digest",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


def due(now: datetime) -> Q:
    """Rows that wait for a worker, and that no queue has been told of lately."""
    free = Q(claimed_until__isnull=True) | Q(claimed_until__lte=now)
    return Q(free, due_at__lte=now)
