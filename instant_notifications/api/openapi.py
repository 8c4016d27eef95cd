"""The OpenAPI document and its browser, where drf-spectacular is installed.

The views stay free of it: everything a reader of the document needs is added to them here.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from django.apps import apps
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from instant_notifications import __version__, tokens
from instant_notifications.api import problems, views
from instant_notifications.api.serializers import Member, Object, Objects
from instant_notifications.statuses import STAGES, OrderStatus, ShipmentType

DESCRIPTION: Final = (
    "Send one SMS or e-mail, now or later, never twice for the same `idempotencyId`, and follow "
    f"what becomes of it. Every call needs a bearer token with the scope `{tokens.SCOPE}`."
)

DESCRIBERS: Final = {
    "instant_notifications": "instant_notifications.api.order_document",
    "instant_notifications.otp": "instant_notifications.otp.openapi",
}
"""Apps with further routes, each with the module that describes them."""


class MemberSchema(OpenApiSerializerFieldExtension):
    target_class = Member
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:  # noqa: ARG002
        return dict(self.target.schema)


class ObjectSchema(OpenApiSerializerExtension):
    target_class = Object
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        mapped = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**mapped, **self.target.schema}


class ObjectsSchema(OpenApiSerializerFieldExtension):
    target_class = Objects
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        mapped: dict[str, Any] = auto_schema._unwrap_list_serializer(self.target, direction) or {}
        return {**mapped, "maxItems": self.target.most}


class BearerSchema(OpenApiAuthenticationExtension):
    target_class = "instant_notifications.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:  # noqa: ARG002
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class NotificationAnswer(serializers.Serializer[Any]):
    shipmentId = serializers.UUIDField()  # noqa: N815
    sendersReference = serializers.CharField(required=False)  # noqa: N815


class InstantOrderAnswer(serializers.Serializer[Any]):
    notificationOrderId = serializers.UUIDField()  # noqa: N815
    notification = NotificationAnswer()


class RecipientAnswer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(sorted(views.TYPE_WORDS.values()))
    destination = serializers.CharField()
    status = serializers.ChoiceField(list(STAGES))
    lastUpdate = serializers.DateTimeField()  # noqa: N815


class ShipmentAnswer(NotificationAnswer):
    type = serializers.ChoiceField(list(ShipmentType))
    status = serializers.ChoiceField(list(OrderStatus))
    lastUpdate = serializers.DateTimeField()  # noqa: N815
    recipients = RecipientAnswer(many=True)


class FeedEntryAnswer(ShipmentAnswer):
    sequenceNumber = serializers.IntegerField()  # noqa: N815
    shipmentType = serializers.ChoiceField(list(ShipmentType))  # noqa: N815


class ProblemAnswer(serializers.Serializer[Any]):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)
    shipmentId = serializers.UUIDField(required=False)  # noqa: N815
    limit = serializers.CharField(required=False)
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
    traceId = serializers.CharField()  # noqa: N815


Answers = dict[Any, Any]


def problem(status: int, meaning: str, answer: type[ProblemAnswer] = ProblemAnswer) -> Answers:
    """An answer of this status, as one of the answers of an operation."""
    return {(status, problems.CONTENT_TYPE): OpenApiResponse(answer, meaning)}


INVALID: Final = problem(400, "The request breaks a rule. All broken rules are listed.")
BODY_ANSWERS: Final[Answers] = {
    **problem(413, "The request body is too large."),
    **problem(415, "The request is not JSON."),
}
TOO_MANY: Final = problem(429, "`IN-00005`: too many requests; `limit` names the limit.")
NOT_YOURS: Final = problem(404, "`NOT-00003`: no such order or shipment of yours.")
COMMON_ANSWERS: Final[Answers] = {
    **problem(503, "`NOT-00004`: a token's issuer or the database is away. Nothing was sent."),
    **problem(401, "No bearer token, or one that is not valid."),
    **problem(403, "The token lacks the scope or the organisation."),
    **problem(500, "A bug; the `traceId` finds it in the log."),
}

SEND_ANSWERS: Final[Answers] = {
    201: OpenApiResponse(InstantOrderAnswer, "A gateway took the message."),
    200: OpenApiResponse(InstantOrderAnswer, "It was taken before; nothing was sent now."),
    **INVALID,
    **COMMON_ANSWERS,
    **problem(409, "`IN-00002`: a request with this id is still being handed over."),
    **BODY_ANSWERS,
    **problem(422, "`IN-00001`: refused for good. `IN-00004`: the id was used before."),
    **TOO_MANY,
    **problem(503, "`NOT-00004`: certainly not sent. The id stays free."),
    **problem(504, "`IN-00003`: it may have been sent. It is not sent again by itself."),
}


def header(name: str, meaning: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(name, str, "header", description=meaning, response=list(statuses))


def id_in_path(name: str) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "string", "format": "uuid"}, "path")


NOT_NEGATIVE: Final = {"type": "integer", "minimum": 0}
SEND_HEADERS: Final = (
    header("Location", "The shipment's own address.", 200, 201),
    header("Idempotent-Replayed", "`true`: nothing was sent now.", 200),
    header("Idempotent-Payload-Mismatch", "`true`: the id was used with other content.", 200, 201),
    header("Retry-After", "Seconds to wait before asking again.", 409, 429, 503, 504),
)
EVERY_SEND_STATUS: Final = tuple(
    status if isinstance(status, int) else status[0] for status in SEND_ANSWERS
)
DEPRECATION_HEADERS: Final = (
    header("Deprecation", "When the route was superseded (RFC 9745).", *EVERY_SEND_STATUS),
    header("Link", "The successor of the route.", *EVERY_SEND_STATUS),
)
CHALLENGE: Final = header("WWW-Authenticate", "`Bearer`", 401)

_SMS: Final = {
    "phoneNumber": "+4799999999",
    "timeToLiveInSeconds": 300,
    "smsSettings": {"sender": "Altinn", "body": "Your code is 123456"},
}
_EMAIL: Final = {
    "emailAddress": "kari@example.com",
    "emailSettings": {
        "subject": "Your code",
        "body": "Your code is 123456",
        "contentType": "Plain",
    },
}


def _order(**recipient: Any) -> dict[str, Any]:
    return {"idempotencyId": "login-0001", "sendersReference": "session-17", **recipient}


SEND_OPERATIONS: Final[Sequence[tuple[Any, str, str, dict[str, Any]]]] = (
    (views.InstantSmsView, "sendSms", "Send one SMS now", _order(recipientSms=_SMS)),
    (views.InstantEmailView, "sendEmail", "Send one e-mail now", _order(recipientEmail=_EMAIL)),
    (
        views.DeprecatedInstantView,
        "sendSmsDeprecated",
        "Send one SMS now (first form)",
        _order(recipient={"recipientSms": _SMS}),
    ),
)


@cache
def describe() -> None:
    """Add to each operation what its code does not say.

    To be done as the routes are loaded: where drf-spectacular is installed, its own check for
    deployment, and the host's own document, take views for a mistake that are not described.
    """
    _describe()
    for app, describer in DESCRIBERS.items():
        if apps.is_installed(app):
            import_module(describer).describe()


def _describe() -> None:
    for view, operation_id, summary, example in SEND_OPERATIONS:
        deprecated = view is views.DeprecatedInstantView
        extend(
            view,
            "post",
            operation_id=operation_id,
            summary=summary,
            deprecated=deprecated or None,
            tags=["Instant orders"],
            request=view.serializer_class,
            parameters=[*SEND_HEADERS, CHALLENGE, *(DEPRECATION_HEADERS if deprecated else ())],
            responses=SEND_ANSWERS,
            examples=[OpenApiExample("Order", value=example, request_only=True)],
        )
    extend(
        views.ShipmentView,
        "get",
        operation_id="getShipment",
        summary="Delivery manifest of one shipment",
        tags=["Shipments"],
        parameters=[id_in_path("shipment_id"), CHALLENGE],
        responses={200: ShipmentAnswer, **COMMON_ANSWERS, **NOT_YOURS},
    )
    extend(
        views.FeedView,
        "get",
        operation_id="getStatusFeed",
        summary="Status feed of the calling organisation",
        tags=["Shipments"],
        parameters=[
            CHALLENGE,
            header("X-Oldest-Sequence", "The oldest number that can still be read.", 200),
            header("X-Latest-Sequence", "The latest number that was given.", 200),
            OpenApiParameter("seq", NOT_NEGATIVE, description="Exclusive cursor.", default=0),
            OpenApiParameter("pageSize", NOT_NEGATIVE, description="Held to 1…500.", default=500),
            OpenApiParameter("orderBy", str, enum=["asc", "desc"], default="asc"),
        ],
        responses={
            200: FeedEntryAnswer(many=True),
            **COMMON_ANSWERS,
            **problem(400, "A query value makes no sense."),
        },
    )


def extend(view: Any, method: str, **described: Any) -> None:
    """Add to an operation what its code does not say."""
    # The host may have another DEFAULT_SCHEMA_CLASS, so ours is named on the view itself.
    view.schema = AutoSchema()
    handle = _own_method(view, method)
    handle.kwargs = {"schema": AutoSchema}
    setattr(view, method, extend_schema(**described)(handle))


def _own_method(view: Any, method: str) -> Any:
    """A function of the view's own, so that its siblings keep theirs."""
    inherited = getattr(view, method)

    def handle(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = inherited(self, request, *args, **kwargs)
        return response

    handle.__name__ = method
    handle.__doc__ = view.__doc__
    return handle


@require_safe
def document(request: HttpRequest) -> JsonResponse:
    """The OpenAPI document of our routes only, addressed as the host has mounted them."""
    root = request.build_absolute_uri(_route(request, "schema")).removesuffix("/schema/")
    return JsonResponse({**_generated(), "servers": [{"url": root}]})


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI from the installed package: nothing is fetched from elsewhere."""
    context = {"document_url": _route(request, "schema")}
    return render(request, "instant_notifications/swagger.html", context)


def _route(request: HttpRequest, name: str) -> str:
    match = request.resolver_match
    return reverse(f"{match.namespace if match else 'instant_notifications'}:{name}")


@cache
def _generated() -> Mapping[str, Any]:
    """The document but for its address, which depends on the request."""
    # The host's hooks are made for the host's own API.
    with patched_settings({"PREPROCESSING_HOOKS": [], "POSTPROCESSING_HOOKS": []}):
        generator = SchemaGenerator(urlconf="instant_notifications.api.urls")
        generated = generator.get_schema(public=True)
    info = {"title": "Instant notifications", "version": __version__, "description": DESCRIPTION}
    return {**generated, "info": info}


urlpatterns = [path("", document, name="schema"), path("swagger/", swagger, name="swagger")]
