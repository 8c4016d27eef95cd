"""Sums, so that nobody has to scan the history to see how things go."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Figures(models.Model):
    """What the history says of five minutes, summed up for the overview."""

    began_at = models.DateTimeField(primary_key=True)
    last_event = models.PositiveBigIntegerField()
    """Every line of the history up to this one has been counted, here or in another row."""
    sums = models.JSONField()

    class Meta:
        verbose_name = _("overview")
        verbose_name_plural = _("overview")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M}"
