"""Whom a regular order may be for, and by which channel they are to be reached."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from instant_notifications import privacy, rules
from instant_notifications.statuses import Channel


class Kind(StrEnum):
    PHONE = "phone"
    MAILBOX = "mailbox"
    PERSON = "person"
    ORGANISATION = "organisation"
    EXTERNAL = "external"
    """Somebody without a national identity number, who has logged in all the same."""


class Schema(StrEnum):
    """Which channels to use, in the words of the wire."""

    EMAIL = "Email"
    SMS = "Sms"
    EMAIL_PREFERRED = "EmailPreferred"
    SMS_PREFERRED = "SmsPreferred"
    EMAIL_AND_SMS = "EmailAndSms"


@dataclass(frozen=True, slots=True)
class Way:
    """How a schema is carried out."""

    channels: tuple[Channel, ...]
    """In order of preference."""
    all_of_them: bool = False
    """Each channel is used; otherwise the first by which the recipient can be reached."""


WAYS: Final[Mapping[Schema, Way]] = {
    Schema.EMAIL: Way((Channel.EMAIL,)),
    Schema.SMS: Way((Channel.SMS,)),
    Schema.EMAIL_PREFERRED: Way((Channel.EMAIL, Channel.SMS)),
    Schema.SMS_PREFERRED: Way((Channel.SMS, Channel.EMAIL)),
    Schema.EMAIL_AND_SMS: Way((Channel.EMAIL, Channel.SMS), all_of_them=True),
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a notification is for; make it by one of the functions below."""

    kind: Kind
    identity: str = field(repr=False)
    """A number or an address, as it is stored."""
    schema: Schema
    ignore_reservation: bool = False
    use_stale: bool = False
    """Contact information that nobody has confirmed for long is good enough."""
    resource_id: str = ""
    resource_action: str = ""

    @property
    def is_looked_up(self) -> bool:
        """Whether a contact register has to tell how to reach them."""
        return self.kind not in (Kind.PHONE, Kind.MAILBOX)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = {**stored, "kind": Kind(stored["kind"]), "schema": Schema(stored["schema"])}
        return cls(**known)


def digests(kind: Kind, identity: str) -> Sequence[str]:
    """What a plan for them is found by, under each key in force: the first is what is kept."""
    return privacy.digests(f"{kind} {identity}")


def phone(number: str) -> Recipient:
    """Whoever has this phone. Raises ``rules.Broken``, as all of these do."""
    return Recipient(Kind.PHONE, rules.mobile_number(number, "number"), Schema.SMS)


def mailbox(address: str) -> Recipient:
    """Whoever reads this mailbox."""
    return Recipient(Kind.MAILBOX, rules.email_address(address, "address"), Schema.EMAIL)


def person(
    number: str,
    schema: str = Schema.EMAIL_PREFERRED,
    *,
    ignore_reservation: bool = False,
    use_stale: bool = False,
    resource_id: str = "",
    resource_action: str = "",
) -> Recipient:
    """A person by national identity number. ``ignore_reservation``: also if they have asked the
    authorities for no digital letters."""
    return Recipient(
        Kind.PERSON,
        rules.national_identity_number(number, "number"),
        channel_schema(schema, "schema"),
        ignore_reservation=rules.boolean(ignore_reservation, "ignore_reservation"),
        use_stale=rules.boolean(use_stale, "use_stale"),
        **_resource(resource_id, resource_action),
    )


def organisation(
    number: str, schema: str, *, resource_id: str = "", resource_action: str = ""
) -> Recipient:
    """An organisation by its number."""
    return Recipient(
        Kind.ORGANISATION,
        rules.organisation_number(number, "number"),
        channel_schema(schema, "schema"),
        **_resource(resource_id, resource_action),
    )


def external(urn: str, schema: str = Schema.EMAIL) -> Recipient:
    """Somebody who is known by another name than a number."""
    return Recipient(
        Kind.EXTERNAL, rules.external_identity(urn, "urn"), channel_schema(schema, "schema")
    )


def _resource(resource_id: str, resource_action: str) -> dict[str, Any]:
    checked = {
        "resource_id": rules.optional(rules.resource_id)(resource_id, "resource_id"),
        "resource_action": rules.optional(rules.resource_action)(
            resource_action, "resource_action"
        ),
    }
    if checked["resource_action"] and not checked["resource_id"]:
        raise rules.Broken(rules.ACTION_ALONE)
    return checked


channel_schema: Final = rules.one_of(Schema, rules.SCHEMA)
