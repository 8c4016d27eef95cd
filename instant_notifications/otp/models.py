"""What was asked of whom, how often it was tried, and how it ended."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications import privacy
from instant_notifications.fields import EncryptedTextField
from instant_notifications.models import Delivery, uuid7
from instant_notifications.models.orders import DIGEST_LENGTH, choices, plain
from instant_notifications.statuses import Channel

PURPOSE_LENGTH = 64
LANGUAGE_LENGTH = 16


class Challenge(models.Model):
    """One code that was sent to one recipient for one purpose. The code itself is not here."""

    class State(models.TextChoices):
        OPEN = "open", _("open")
        VERIFIED = "verified", _("verified")
        REPLACED = "replaced", _("replaced by a newer code")
        USED_UP = "used_up", _("tried too often")
        NOT_SENT = "not_sent", _("not sent")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.CharField(_("organisation"), max_length=255)
    purpose = models.CharField(_("purpose"), max_length=PURPOSE_LENGTH)
    channel = models.CharField(_("channel"), max_length=8, choices=choices(Channel))
    destination = EncryptedTextField(null=True, editable=False)
    """To send a newer code to; erased with the end."""
    destination_digest = models.CharField(max_length=DIGEST_LENGTH, editable=False)
    user_hash = models.CharField(max_length=DIGEST_LENGTH, blank=True, editable=False)
    """Whom it is bound to, if to anybody; only they can verify it."""
    session_hash = models.CharField(max_length=DIGEST_LENGTH, blank=True, editable=False)
    language = models.CharField(max_length=LANGUAGE_LENGTH)
    salt = models.CharField(max_length=32, editable=False)
    code_hash = models.CharField(max_length=DIGEST_LENGTH, editable=False)
    attempts_left = models.PositiveSmallIntegerField(_("attempts left"))
    sends = models.PositiveSmallIntegerField(_("codes sent in a row"), default=1)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.OPEN)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))
    resend_available_at = models.DateTimeField(_("a newer code from"))
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("one-time code")
        verbose_name_plural = _("one-time codes")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["destination_digest", "created_at"], name="instant_otp_recipient"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(destination__isnull=False),
                name="instant_otp_destination",
            ),
            models.Index(
                fields=["user_hash"],
                condition=models.Q(state="open") & ~models.Q(user_hash=""),
                name="instant_otp_user",
            ),
            models.Index(
                fields=["session_hash"],
                condition=models.Q(state="open") & ~models.Q(session_hash=""),
                name="instant_otp_session",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(channel__in=plain(Channel)), name="instant_otp_channel"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def idempotency_id(self) -> str:
        """The id that its message was sent under, and is found by."""
        return f"one-time code {self.pk}"

    @property
    def masked_destination(self) -> str:
        """Enough for its recipient to know it by; a dash once it is erased."""
        return privacy.mask(self.destination)

    @property
    def delivery(self) -> Delivery | None:
        """How its message stands; ``None`` if none was made, or it is purged."""
        theirs = Delivery.objects.without_secrets().filter(
            shipment__order__idempotency__key=self.idempotency_id,
            shipment__order__idempotency__creator=self.creator,
        )
        return theirs.first()


class Recipient(models.Model):
    """The row that everybody locks who wants to send a code to, or for, the same somebody."""

    digest = models.CharField(max_length=DIGEST_LENGTH, primary_key=True)

    class Meta:
        verbose_name = _("recipient of codes")
        verbose_name_plural = _("recipients of codes")
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest
