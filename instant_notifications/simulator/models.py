"""The simulated recipients' inbox, and the receipts still to come."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.fields import EncryptedTextField


class SimulatedMessage(models.Model):
    """A message as its recipient would see it."""

    gateway = models.CharField(max_length=64)
    reference = models.CharField(max_length=64)
    channel = models.CharField(max_length=8)
    destination = EncryptedTextField(editable=False)
    sender = EncryptedTextField(editable=False)
    subject = EncryptedTextField(editable=False)
    body = EncryptedTextField(editable=False)
    received_at = models.DateTimeField(_("received"), default=timezone.now)

    class Meta:
        verbose_name = _("simulated message")
        verbose_name_plural = _("simulated messages")

    def __str__(self) -> str:
        return self.gateway_reference

    @property
    def gateway_reference(self) -> str:
        return f"sim-{self.reference}"


class SimulatedReceipt(models.Model):
    """What the simulated operator will report, and when."""

    message = models.ForeignKey(SimulatedMessage, models.CASCADE, related_name="receipts")
    status = models.CharField(max_length=40)
    word = models.CharField(max_length=40)
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("simulated receipt")
        verbose_name_plural = _("simulated receipts")
        indexes = [models.Index(fields=["sent_at", "due_at"], name="simulated_receipt_due")]

    def __str__(self) -> str:
        return self.word
