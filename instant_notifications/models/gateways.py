"""What is known of the gateways: who is well, and how far their feeds were read."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import ALIAS_LENGTH, NAME_LENGTH, REFERENCE_LENGTH


class GatewayState(models.Model):
    """How a gateway stands, the same for all processes. Without a row nothing speaks against it."""

    alias = models.CharField(max_length=ALIAS_LENGTH, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    """How many calls in a row have failed by its own fault."""
    last_failure = models.CharField(max_length=REFERENCE_LENGTH, blank=True)
    last_failure_at = models.DateTimeField(null=True)
    passed_over_until = models.DateTimeField(null=True)
    """It has failed too often: until then it is not asked, then by one message at a time."""
    switched_off_at = models.DateTimeField(null=True)
    """An operator wants nothing sent by it."""
    switched_off_by = models.CharField(max_length=NAME_LENGTH, blank=True)
    switched_off_because = models.CharField(max_length=REFERENCE_LENGTH, blank=True)

    class Meta:
        verbose_name = _("gateway")
        verbose_name_plural = _("gateways")
        permissions = [("switch_gatewaystate", "Can switch gateways off and on")]

    def __str__(self) -> str:
        return self.alias


class FeedCursor(models.Model):
    """How far the feed of a gateway has been read, and by whom at this moment."""

    gateway = models.CharField(max_length=ALIAS_LENGTH, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)
    """Everything up to this number has been written down."""
    read_at = models.DateTimeField(null=True)
    holder = models.CharField(max_length=REFERENCE_LENGTH, blank=True)
    held_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("feed cursor")
        verbose_name_plural = _("feed cursors")

    def __str__(self) -> str:
        return f"{self.gateway} {self.number}"
