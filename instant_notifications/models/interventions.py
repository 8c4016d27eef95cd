"""What people did about messages, and why."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import NAME_LENGTH, REFERENCE_LENGTH, Delivery


class Intervention(models.Model):
    """Something a person did about a delivery. Written once, never changed."""

    class Kind(models.TextChoices):
        RESEND = "resend", _("resent")
        CANCEL = "cancel", _("cancelled")
        EXPIRE = "expire", _("expired")
        REVEAL = "reveal", _("revealed")
        MATCH = "match", _("receipt matched")

    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="interventions", verbose_name=_("delivery")
    )
    at = models.DateTimeField(_("time"), default=timezone.now)
    kind = models.CharField(_("what"), max_length=16, choices=Kind)
    by = models.CharField(_("who"), max_length=NAME_LENGTH)
    because = models.CharField(_("why"), max_length=REFERENCE_LENGTH)
    successor = models.OneToOneField(
        Delivery, models.SET_NULL, null=True, related_name="origin", verbose_name=_("new delivery")
    )
    """What a resend has made."""

    class Meta:
        verbose_name = _("intervention")
        verbose_name_plural = _("interventions")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} {self.delivery_id}"
