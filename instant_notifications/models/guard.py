"""What the guard knows: how much has been asked for, by whom, and who is kept out."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.models.orders import DIGEST_LENGTH, NAME_LENGTH, REFERENCE_LENGTH

REASON_LENGTH = 40
SUBJECT_LENGTH = 64


class Allowance(models.Model):
    """How much of one limit one subject has used up. Without a row it has all of it left."""

    key = models.CharField(max_length=DIGEST_LENGTH, primary_key=True)
    """A keyed digest of the limit's name and the subject."""
    full_at = models.FloatField(default=0, db_index=True)
    """When it is whole again if nothing more is taken, in seconds since 1970."""

    class Meta:
        verbose_name = _("allowance")
        verbose_name_plural = _("allowances")
        default_permissions = ()

    def __str__(self) -> str:
        return self.key


class VerifiedShare(models.Model):
    """How many codes have gone to a number prefix or a country since a moment, and to what end."""

    subject = models.CharField(max_length=SUBJECT_LENGTH, primary_key=True)
    began_at = models.DateTimeField(db_index=True)
    sent = models.PositiveIntegerField(default=0)
    verified = models.PositiveIntegerField(default=0)
    suspected_at = models.DateTimeField(null=True)
    """Since when too few are verified; the newest may still be typed."""

    class Meta:
        verbose_name = _("share of verified codes")
        verbose_name_plural = _("shares of verified codes")
        default_permissions = ()

    def __str__(self) -> str:
        return self.subject


class Hold(models.Model):
    """Too few of the codes to a number prefix or a country are verified for honest use."""

    subject = models.CharField(_("prefix or country"), max_length=SUBJECT_LENGTH, unique=True)
    since = models.DateTimeField(_("since"), default=timezone.now)
    sent = models.PositiveIntegerField(_("codes sent"))
    verified = models.PositiveIntegerField(_("of these verified"))
    released_at = models.DateTimeField(_("released"), null=True, db_index=True)
    released_by = models.CharField(_("released by"), max_length=NAME_LENGTH, blank=True)
    released_because = models.CharField(_("why"), max_length=REFERENCE_LENGTH, blank=True)

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        default_permissions = ("view",)
        permissions = [("release_hold", "Can release holds")]

    def __str__(self) -> str:
        return self.subject

    @property
    def is_prefix(self) -> bool:
        return self.subject.startswith("+")


class ListEntry(models.Model):
    """Whom an operator keeps out, or lets through whatever the guard thinks of them."""

    class Verdict(models.TextChoices):
        BLOCK = "block", _("block")
        ALLOW = "allow", _("allow")

    class Kind(models.TextChoices):
        RECIPIENT = "recipient", _("a number or an e-mail address")
        PREFIX = "prefix", _("numbers that begin with")
        COUNTRY = "country", _("a country")
        ADDRESS = "address", _("a network address or range")

    verdict = models.CharField(_("verdict"), max_length=8, choices=Verdict)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    key = models.CharField(max_length=DIGEST_LENGTH, unique=True, editable=False)
    """What it is found by: a keyed digest of a recipient, all else as it is."""
    shown = models.CharField(_("whom"), max_length=REFERENCE_LENGTH)
    """A recipient only masked."""
    because = models.CharField(_("why"), max_length=REFERENCE_LENGTH)
    by = models.CharField(_("who"), max_length=NAME_LENGTH)
    at = models.DateTimeField(_("since"), default=timezone.now)
    until = models.DateTimeField(_("until"), null=True, db_index=True)

    class Meta:
        verbose_name = _("entry of the block and allow list")
        verbose_name_plural = _("block and allow list")
        default_permissions = ("view",)
        permissions = [("keep_listentry", "Can add to the block and allow list, and remove")]

    def __str__(self) -> str:
        return f"{self.verdict} {self.shown}"


class Refusals(models.Model):
    """How often something was refused for one reason, in the five minutes from ``began_at``."""

    began_at = models.DateTimeField()
    reason = models.CharField(max_length=REASON_LENGTH)
    number = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("refusals")
        verbose_name_plural = _("refusals")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["began_at", "reason"], name="instant_refusals_once")
        ]

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M} {self.reason}"
