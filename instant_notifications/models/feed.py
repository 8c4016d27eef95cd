"""The status feed: one numbered list for each organisation."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import STATUS_LENGTH, Shipment, choices, plain
from instant_notifications.statuses import OrderStatus


class Organisation(models.Model):
    """An organisation that sends ("creator" on the wire), with the counter of its feed.

    Its row is locked last in a transaction, so that numbers are given in commit order.
    """

    name = models.CharField(max_length=255, primary_key=True)
    last_sequence_number = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("organisation")
        verbose_name_plural = _("organisations")

    def __str__(self) -> str:
        return self.name


class FeedEntry(models.Model):
    """What the feed says of a shipment at one moment."""

    creator = models.CharField(_("organisation"), max_length=255)
    sequence_number = models.PositiveBigIntegerField()
    shipment = models.ForeignKey(
        Shipment, models.CASCADE, related_name="feed_entries", db_index=False
    )
    delivery_id = models.UUIDField(editable=False)
    revision = models.PositiveBigIntegerField()
    """With ``delivery_id``, the change that made the entry: no change makes two."""
    status = models.CharField(max_length=STATUS_LENGTH, choices=choices(OrderStatus))
    at = models.DateTimeField(default=timezone.now)
    recipients = models.JSONField()
    """``[{delivery, channel, status, at}]``, of the entry's own delivery without ``delivery``. The
    destination is looked up, so that it can be erased."""

    class Meta:
        verbose_name = _("feed entry")
        verbose_name_plural = _("feed entries")
        constraints = [
            models.UniqueConstraint(
                fields=["creator", "sequence_number"], name="instant_feed_number"
            ),
            models.UniqueConstraint(
                fields=["shipment", "delivery_id", "revision"], name="instant_feed_change"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=plain(OrderStatus)), name="instant_feed_status"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.creator} {self.sequence_number}"
