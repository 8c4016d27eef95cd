"""Receipts that came before, or without, the message they speak of."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import (
    ALIAS_LENGTH,
    PART_LENGTH,
    REFERENCE_LENGTH,
    STATUS_LENGTH,
)


class UnmatchedReceipt(models.Model):
    """A gateway's word on a message we do not know, kept until we do or until it is old.

    A gateway may report before it answers; the hand-over's record then finds the receipt here.
    """

    OUR_REFERENCE_LENGTH = 64

    gateway = models.CharField(_("gateway"), max_length=ALIAS_LENGTH)
    gateway_reference = models.CharField(
        _("gateway's reference"), max_length=REFERENCE_LENGTH, blank=True
    )
    reference = models.CharField(_("our reference"), max_length=OUR_REFERENCE_LENGTH, blank=True)
    status = models.CharField(_("status"), max_length=STATUS_LENGTH, blank=True)
    word = models.CharField(_("gateway's own word"), max_length=255, blank=True)
    part = models.CharField(_("part"), max_length=PART_LENGTH, blank=True)
    parts = models.PositiveSmallIntegerField(null=True)
    received_at = models.DateTimeField(_("received"), default=timezone.now)

    class Meta:
        verbose_name = _("unmatched receipt")
        verbose_name_plural = _("unmatched receipts")
        permissions = [("match_unmatchedreceipt", "Can match receipts with messages by hand")]
        constraints = [
            models.UniqueConstraint(
                fields=["gateway", "gateway_reference", "reference", "word", "part", "status"],
                name="instant_unmatched_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.gateway} {self.word}"
