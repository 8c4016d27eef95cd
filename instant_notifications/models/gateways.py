"""What is known of the gateways: whom each message was given to, who is well, what was read."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import ALIAS_LENGTH, REFERENCE_LENGTH, Delivery


class GatewayCall(models.Model):
    """One line of a hand-over: a gateway that was asked to take a message, and what came of it."""

    class Outcome(models.TextChoices):
        TAKEN = "taken", _("taken")
        REFUSED = "refused", _("refused for good")
        NOT_SENT = "not_sent", _("certainly not sent")
        UNKNOWN = "unknown", _("may have been sent")
        PASSED_OVER = "passed_over", _("not asked")

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="gateway_calls")
    attempt = models.PositiveIntegerField(null=True)
    """Which of the delivery's hand-overs this belongs to."""
    gateway = models.CharField(max_length=ALIAS_LENGTH)
    started_at = models.DateTimeField()
    duration = models.DurationField()
    outcome = models.CharField(max_length=16, choices=Outcome)
    reason = models.CharField(max_length=REFERENCE_LENGTH, blank=True)

    class Meta:
        verbose_name = _("gateway call")
        verbose_name_plural = _("gateway calls")
        indexes = [models.Index(fields=["gateway", "started_at"], name="instant_call_gateway")]

    def __str__(self) -> str:
        return f"{self.gateway} {self.outcome}"


class GatewayState(models.Model):
    """How a gateway stands, the same for all processes. Without a row nothing speaks against it."""

    alias = models.CharField(max_length=ALIAS_LENGTH, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    """How many calls in a row have failed by its own fault."""
    last_failure = models.CharField(max_length=REFERENCE_LENGTH, blank=True)
    last_failure_at = models.DateTimeField(null=True)
    passed_over_until = models.DateTimeField(null=True)
    """It has failed too often: until then it is not asked, and after that by one message at once."""
    switched_off_at = models.DateTimeField(null=True)
    """An operator wants nothing sent by it."""
    switched_off_by = models.CharField(max_length=150, blank=True)
    switched_off_because = models.CharField(max_length=REFERENCE_LENGTH, blank=True)

    class Meta:
        verbose_name = _("state of a gateway")
        verbose_name_plural = _("states of gateways")

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
