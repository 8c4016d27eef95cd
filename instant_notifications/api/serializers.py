"""The requests of the contract: which members there are, and the rule that each must keep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from rest_framework import serializers

from instant_notifications import orders, rules
from instant_notifications.api.problems import InvalidRequest

Schema = Mapping[str, Any]

NOT_ARRAY: Final = "Expected an array."
TOO_MANY: Final = "At most {limit} are allowed."


class Member(serializers.Field[Any, Any, Any, Any]):
    """A JSON member that keeps one of our rules. Absent, null and blank are one and the same.

    It is required unless there is something that those mean.
    """

    def __init__(
        self,
        rule: rules.Rule,
        schema: Schema,
        *,
        blank_means: Any = None,
        missing: str = rules.REQUIRED,
    ) -> None:
        super().__init__(required=blank_means is None)
        self.rule = rule
        self.schema = schema
        self.blank_means = blank_means
        self.missing = missing

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if is_absent(data):
            if self.blank_means is None:
                raise serializers.ValidationError([self.missing.format(name=self.field_name)])
            return self.blank_means
        try:
            return self.checked(data)
        except rules.Broken as broken:
            raise serializers.ValidationError([str(broken)]) from None

    def checked(self, data: Any) -> Any:
        return self.rule(data, str(self.field_name))


def is_absent(data: object) -> bool:
    return data is serializers.empty or data is None or (isinstance(data, str) and not data.strip())


class Sender(Member):
    """A sender that the calling organisation may use."""

    def __init__(self, rule_of: Callable[[str], rules.Rule], schema: Schema) -> None:
        super().__init__(rule_of(""), schema, blank_means="")
        self.rule_of = rule_of

    def checked(self, data: Any) -> Any:
        return self.rule_of(self.context["creator"])(data, str(self.field_name))


class Objects(serializers.ListSerializer[Any]):
    """A JSON array of objects, not too many; absent and null are an empty one."""

    child: "Object"
    most: ClassVar[int]

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or data is None:
            return []
        if not isinstance(data, list):
            raise serializers.ValidationError([NOT_ARRAY])
        if len(data) > self.most:
            raise serializers.ValidationError([TOO_MANY.format(limit=self.most)])
        objects, errors = [], {}
        for place, each in enumerate(data):
            try:
                objects.append(self._checked(each))
            except serializers.ValidationError as error:
                errors[f"[{place}]"] = error.detail
        if errors:
            raise serializers.ValidationError(errors)
        return objects

    def _checked(self, each: Any) -> Any:
        if each is None:
            raise serializers.ValidationError([rules.NOT_OBJECT])
        return self.child.run_validation(each)


class Object(serializers.Serializer[Any]):
    """A JSON object; members it does not name are ignored."""

    schema: ClassVar[Schema] = {}
    """What its members do not say."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or data is None:
            if not self.required:
                return None
            raise serializers.ValidationError([rules.REQUIRED.format(name=self.field_name)])
        if not isinstance(data, Mapping):
            raise serializers.ValidationError([rules.NOT_OBJECT])
        errors: dict[str, Any] = {name: [message] for name, message in self.clashes(data)}
        try:
            members = self.to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= error.detail  # type: ignore[arg-type]
        if errors:
            raise serializers.ValidationError(errors)
        return members

    def clashes(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """What is wrong with its members together: a member's name, or "" for itself, and why."""
        return iter(())

    def members(self, **context: Any) -> Mapping[str, Any]:
        """What it holds; raises ``InvalidRequest`` with every broken rule."""
        self._context = context
        if not self.is_valid():
            raise InvalidRequest(dict(_by_path(self.errors)))
        members: Mapping[str, Any] = self.validated_data
        return members


def text_schema(limit: int | None = None, **more: Any) -> Schema:
    bounds = {"minLength": 1} | ({} if limit is None else {"maxLength": limit})
    return {"type": "string", **bounds, **more}


class SmsSettings(Object):
    sender = Sender(rules.sms_sender_of, text_schema(rules.MAX_SENDER_LENGTH))
    body = Member(rules.sms_body, text_schema())


class RecipientSms(Object):
    phoneNumber = Member(rules.mobile_number, text_schema(example="+4799999999"))  # noqa: N815
    timeToLiveInSeconds = Member(  # noqa: N815
        rules.time_to_live,
        {"type": "integer", "minimum": rules.MIN_TIME_TO_LIVE, "maximum": rules.MAX_TIME_TO_LIVE},
    )
    smsSettings = SmsSettings()  # noqa: N815


class EmailSettings(Object):
    subject = Member(rules.email_subject, text_schema(rules.MAX_SUBJECT_LENGTH))
    body = Member(rules.email_body, text_schema())
    senderEmailAddress = Sender(  # noqa: N815
        rules.email_sender_of, text_schema(format="email")
    )
    contentType = Member(  # noqa: N815
        rules.content_type,
        {"type": "string", "enum": list(rules.CONTENT_TYPES), "default": "Plain"},
        blank_means="Plain",
    )


class RecipientEmail(Object):
    emailAddress = Member(rules.email_address, text_schema(format="email"))  # noqa: N815
    emailSettings = EmailSettings()  # noqa: N815


class Repeatable(Object):
    """What is done once, however often it is asked for."""

    idempotencyId = Member(  # noqa: N815
        rules.idempotency_id, text_schema(rules.MAX_REFERENCE_LENGTH)
    )


class Referenced(Object):
    """What its sender wants to recognise."""

    sendersReference = Member(  # noqa: N815
        rules.senders_reference, text_schema(rules.MAX_REFERENCE_LENGTH), blank_means=""
    )


class InstantOrder(Repeatable, Referenced):
    """What every instant request carries."""

    def draft(self, creator: str) -> orders.Draft:
        """The message to send; raises ``InvalidRequest`` with every broken rule."""
        members = self.members(creator=creator)
        return self.draft_from(
            members,
            creator=creator,
            idempotency_id=members["idempotencyId"],
            senders_reference=members["sendersReference"],
        )

    def draft_from(self, members: Mapping[str, Any], **draft: Any) -> orders.Draft:
        raise NotImplementedError


class InstantSms(InstantOrder):
    recipientSms = RecipientSms()  # noqa: N815

    def draft_from(self, members: Mapping[str, Any], **draft: Any) -> orders.Draft:
        recipient = members["recipientSms"]
        return orders.sms_draft(
            destination=recipient["phoneNumber"],
            time_to_live=recipient["timeToLiveInSeconds"],
            body=recipient["smsSettings"]["body"],
            sender=recipient["smsSettings"]["sender"],
            **draft,
        )


class Recipient(Object):
    recipientSms = RecipientSms()  # noqa: N815


class DeprecatedInstantSms(InstantOrder):
    """The SMS request with its recipient one level deeper."""

    recipient = Recipient()

    def draft_from(self, members: Mapping[str, Any], **draft: Any) -> orders.Draft:
        return InstantSms().draft_from(members["recipient"], **draft)


class InstantEmail(InstantOrder):
    recipientEmail = RecipientEmail()  # noqa: N815

    def draft_from(self, members: Mapping[str, Any], **draft: Any) -> orders.Draft:
        recipient = members["recipientEmail"]
        email = recipient["emailSettings"]
        return orders.email_draft(
            destination=recipient["emailAddress"],
            subject=email["subject"],
            body=email["body"],
            content_type=email["contentType"],
            sender=email["senderEmailAddress"],
            **draft,
        )


def _by_path(errors: Any, parent: str = "") -> Iterator[tuple[str, Sequence[str]]]:
    """Nested errors as the JSON paths the caller wrote."""
    for name, found in errors.items():
        path = _path(parent, name)
        if isinstance(found, Mapping):
            yield from _by_path(found, path)
        else:
            yield path, [str(message) for message in found]


def _path(parent: str, name: str) -> str:
    """``name`` is a member's, a place as in ``[0]``, or blank for the object itself."""
    separator = "." if parent and name and not name.startswith("[") else ""
    return f"{parent}{separator}{name}"
