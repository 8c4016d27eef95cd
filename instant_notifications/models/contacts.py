"""How persons and organisations can be reached, where the project keeps that itself."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instant_notifications.fields import EncryptedListField, EncryptedTextField
from instant_notifications.models.orders import DIGEST_LENGTH


class ContactEntry(models.Model):
    """One entry of the local contact register. Who it is about stands in it only as ciphertext."""

    class Kind(models.TextChoices):
        """Those of ``recipients.Kind`` that are looked up."""

        PERSON = "person", _("person")
        ORGANISATION = "organisation", _("organisation")
        EXTERNAL = "external", _("external identity")

    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    digest = models.CharField(max_length=DIGEST_LENGTH, unique=True, editable=False)
    """A keyed hash of kind and number, by which alone an entry is found."""
    number = EncryptedTextField(_("number"), null=True)
    name = EncryptedTextField(_("name"), null=True, blank=True)
    phone_numbers = EncryptedListField(_("mobile numbers"), blank=True)
    email_addresses = EncryptedListField(_("e-mail addresses"), blank=True)
    reserved = models.BooleanField(
        _("reserved"), default=False, help_text=_("They have asked for no digital letters.")
    )
    confirmed_at = models.DateTimeField(
        _("confirmed"),
        default=timezone.now,
        help_text=_("When somebody last said that this is still right."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=["person", "organisation", "external"]),
                name="instant_contact_kind",
            )
        ]

    def __str__(self) -> str:
        """Nothing personal: the admin's log keeps it for ever."""
        return str(self.pk)
