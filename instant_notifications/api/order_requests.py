"""The request for a regular order: its message, its reminders, and whom they are for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers

from instant_notifications import orders, recipients, rules
from instant_notifications.api.serializers import (
    EmailSettings,
    Member,
    Object,
    Objects,
    Referenced,
    Repeatable,
    SmsSettings,
    is_absent,
    text_schema,
)
from instant_notifications.recipients import WAYS, Recipient, Schema
from instant_notifications.statuses import Channel

DAYTIME: Final = "Daytime"
ANYTIME: Final = "Anytime"


def dialog_reference(value: object, name: str) -> str:
    return rules.text(value, name, limit=rules.MAX_REFERENCE_LENGTH)


def policy(words: Sequence[str], otherwise: str) -> Member:
    """When of the day it may be sent; the first word where nothing is said."""
    return Member(
        rules.one_of(words, otherwise),
        {"type": "string", "enum": list(words), "default": words[0]},
        blank_means=words[0],
    )


def channels(default: Schema | None = None) -> Member:
    """By which channels somebody is to be reached."""
    schema = {"type": "string", "enum": list(map(str, Schema))}
    also = {"default": str(default)} if default else {}
    return Member(recipients.channel_schema, schema | also, blank_means=default)


def flag() -> Member:
    return Member(rules.boolean, {"type": "boolean", "default": False}, blank_means=False)


def exactly_one_of(*names: str) -> Mapping[str, Any]:
    return {"oneOf": [{"required": [name]} for name in names]}


class OrderSmsSettings(SmsSettings):
    body = Member(rules.sms_body, text_schema(), missing=rules.NO_SMS_BODY)
    sendingTimePolicy = policy((DAYTIME, ANYTIME), rules.SMS_POLICY)  # noqa: N815


class OrderEmailSettings(EmailSettings):
    sendingTimePolicy = policy((ANYTIME,), rules.EMAIL_POLICY)  # noqa: N815


@dataclass(frozen=True, slots=True)
class Texts:
    """The member that holds the texts of a channel, and how they are kept."""

    member: str
    kind: str
    """As in the message for one who has left them out."""
    content: Callable[[Mapping[str, Any]], Mapping[str, object]]


TEXTS: Final[Mapping[Channel, Texts]] = {
    Channel.SMS: Texts(
        "smsSettings",
        "Sms",
        lambda sms: {
            "body": sms["body"],
            "sender": sms["sender"],
            "daytime": sms["sendingTimePolicy"] == DAYTIME,
        },
    ),
    Channel.EMAIL: Texts(
        "emailSettings",
        "Email",
        lambda email: {
            "subject": email["subject"],
            "body": email["body"],
            "content_type": email["contentType"],
            "sender": email["senderEmailAddress"],
        },
    ),
}


class OrderRecipientSms(Object):
    phoneNumber = Member(rules.mobile_number, text_schema(example="+4799999999"))  # noqa: N815
    smsSettings = OrderSmsSettings()  # noqa: N815


class OrderRecipientEmail(Object):
    emailAddress = Member(rules.email_address, text_schema(format="email"))  # noqa: N815
    emailSettings = OrderEmailSettings()  # noqa: N815


class LookedUp(Object):
    """Somebody whose addresses are to be found in a register."""

    emailSettings = OrderEmailSettings(required=False)  # noqa: N815
    smsSettings = OrderSmsSettings(required=False)  # noqa: N815

    def clashes(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        try:
            schema = self.fields["channelSchema"].run_validation(data.get("channelSchema"))
        except serializers.ValidationError:
            return  # it is told of by itself
        for texts in (TEXTS[channel] for channel in WAYS[schema].channels):
            if data.get(texts.member) is None:
                yield texts.member, rules.NO_SETTINGS.format(kind=texts.kind, schema=schema)


class OfResource(LookedUp):
    """Somebody who may be notified on behalf of a resource."""

    resourceId = Member(  # noqa: N815
        rules.resource_id,
        text_schema(rules.MAX_REFERENCE_LENGTH, example="urn:altinn:resource:taxes"),
        blank_means="",
    )
    resourceAction = Member(  # noqa: N815
        rules.resource_action, text_schema(rules.MAX_REFERENCE_LENGTH), blank_means=""
    )

    def clashes(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from super().clashes(data)
        if is_absent(data.get("resourceId")) and not is_absent(data.get("resourceAction")):
            yield "resourceAction", rules.ACTION_ALONE


class RecipientPerson(OfResource):
    nationalIdentityNumber = Member(  # noqa: N815
        rules.national_identity_number, {"type": "string", "pattern": "^[0-9]{11}$"}
    )
    channelSchema = channels(default=Schema.EMAIL_PREFERRED)  # noqa: N815
    ignoreReservation = flag()  # noqa: N815
    useStaleContactInformation = flag()  # noqa: N815


class RecipientOrganization(OfResource):
    orgNumber = Member(  # noqa: N815
        rules.organisation_number, {"type": "string", "pattern": "^[0-9]{9}$"}
    )
    channelSchema = channels()  # noqa: N815


class RecipientExternalIdentity(LookedUp):
    externalIdentity = Member(  # noqa: N815
        rules.external_identity,
        text_schema(rules.MAX_URN_LENGTH, example="urn:altinn:party:username:kari"),
    )
    channelSchema = channels(default=Schema.EMAIL)  # noqa: N815


RECIPIENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Recipient]]] = {
    "recipientEmail": lambda given: recipients.mailbox(given["emailAddress"]),
    "recipientSms": lambda given: recipients.phone(given["phoneNumber"]),
    "recipientPerson": lambda given: recipients.person(
        given["nationalIdentityNumber"],
        given["channelSchema"],
        ignore_reservation=given["ignoreReservation"],
        use_stale=given["useStaleContactInformation"],
        resource_id=given["resourceId"],
        resource_action=given["resourceAction"],
    ),
    "recipientOrganization": lambda given: recipients.organisation(
        given["orgNumber"],
        given["channelSchema"],
        resource_id=given["resourceId"],
        resource_action=given["resourceAction"],
    ),
    "recipientExternalIdentity": lambda given: recipients.external(
        given["externalIdentity"], given["channelSchema"]
    ),
}


class OrderRecipient(Object):
    """Whom it is for, in exactly one of these ways."""

    recipientEmail = OrderRecipientEmail(required=False)  # noqa: N815
    recipientSms = OrderRecipientSms(required=False)  # noqa: N815
    recipientPerson = RecipientPerson(required=False)  # noqa: N815
    recipientOrganization = RecipientOrganization(required=False)  # noqa: N815
    recipientExternalIdentity = RecipientExternalIdentity(required=False)  # noqa: N815

    schema = exactly_one_of(*RECIPIENTS)

    def clashes(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if sum(data.get(name) is not None for name in RECIPIENTS) != 1:
            yield "", rules.ONE_RECIPIENT


NOW: Final = ""


class RequestedTime(Member):
    """When it is to be sent at the earliest. A repeat may name a time that has passed meanwhile."""

    def __init__(self) -> None:
        schema = {"type": "string", "format": "date-time"}
        super().__init__(rules.requested_time, schema, blank_means=NOW)

    def checked(self, data: Any) -> Any:
        rule = rules.moment if self.context["is_repeat"] else self.rule
        return rule(data, str(self.field_name))


class Notice(Referenced):
    """What a message and a reminder have in common."""

    conditionEndpoint = Member(  # noqa: N815
        rules.condition, text_schema(rules.MAX_CONDITION_LENGTH, format="uri"), blank_means=""
    )
    requestedSendTime = RequestedTime()  # noqa: N815
    recipient = OrderRecipient()


class Reminders(Objects):
    most = 100


class Reminder(Notice):
    class Meta:
        list_serializer_class = Reminders

    delayDays = Member(  # noqa: N815
        rules.delay_days,
        {"type": "integer", "minimum": 1, "maximum": rules.MAX_DELAY_DAYS},
        blank_means=0,
    )

    schema = exactly_one_of("delayDays", "requestedSendTime")

    def clashes(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if is_absent(data.get("delayDays")) == is_absent(data.get("requestedSendTime")):
            yield "", rules.DELAY_OR_TIME


class DialogportenAssociation(Object):
    """What in Dialogporten it belongs to."""

    dialogId = Member(dialog_reference, text_schema(rules.MAX_REFERENCE_LENGTH), blank_means="")  # noqa: N815
    transmissionId = Member(  # noqa: N815
        dialog_reference, text_schema(rules.MAX_REFERENCE_LENGTH), blank_means=""
    )


class NotificationOrder(Repeatable, Notice):
    dialogportenAssociation = DialogportenAssociation(required=False)  # noqa: N815
    reminders = Reminder(many=True, required=False)

    def draft(self, creator: str, *, is_repeat: bool = False) -> orders.OrderDraft:
        """The order to place; raises ``InvalidRequest`` with every broken rule."""
        members = self.members(creator=creator, is_repeat=is_repeat)
        requested_at = members["requestedSendTime"] or timezone.now()
        dialog = members["dialogportenAssociation"] or {}
        return orders.OrderDraft(
            creator=creator,
            idempotency_id=members["idempotencyId"],
            notices=[
                _notice(members, requested_at),
                *(_notice(each, _due(each, requested_at)) for each in members["reminders"]),
            ],
            dialog={name: value for name, value in dialog.items() if value} or None,
        )


def _due(reminder: Mapping[str, Any], requested_at: datetime) -> datetime:
    own: datetime | None = reminder["requestedSendTime"]
    return own or requested_at + timedelta(days=reminder["delayDays"])


def _notice(members: Mapping[str, Any], requested_at: datetime) -> orders.NoticeDraft:
    ((name, given),) = ((name, each) for name, each in members["recipient"].items() if each)
    recipient = RECIPIENTS[name](given)
    return orders.NoticeDraft(
        recipients=[recipient],
        content=_content(given, WAYS[recipient.schema].channels),
        requested_at=requested_at,
        given_time=_given_time(members),
        condition=members["conditionEndpoint"],
        senders_reference=members["sendersReference"],
    )


def _content(
    given: Mapping[str, Any], channels: Sequence[Channel]
) -> Mapping[Channel, Mapping[str, object]]:
    """Only the texts that can be sent: no more is kept than is needed."""
    return {channel: TEXTS[channel].content(given[TEXTS[channel].member]) for channel in channels}


def _given_time(members: Mapping[str, Any]) -> str:
    """What the caller has said of it: "now" is the same in every repeat."""
    if members["requestedSendTime"]:
        return str(members["requestedSendTime"].isoformat())
    return f"{members['delayDays']} days" if members.get("delayDays") else ""
