"""The routes: authenticate, read, let ``orders`` work, answer."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from instant_notifications import feed, guard, orders, telemetry
from instant_notifications.api.authentication import (
    BearerAuthentication,
    MayCreateNotifications,
    creator_of,
)
from instant_notifications.api.problems import InvalidRequest, answer_exception
from instant_notifications.api.serializers import (
    DeprecatedInstantSms,
    InstantEmail,
    InstantOrder,
    InstantSms,
)
from instant_notifications.api.wire import (
    ContractRequest,
    JsonParser,
    JsonRenderer,
    OnlyJson,
    json_time,
)
from instant_notifications.exceptions import NotFound
from instant_notifications.statuses import Channel

DEPRECATED_SINCE: Final = datetime(2025, 10, 1, tzinfo=UTC)
MAX_PAGE_SIZE: Final = 500
LARGEST_NUMBER: Final = 2**63 - 1
LARGEST_DIGITS: Final = len(str(LARGEST_NUMBER))
TYPE_WORDS: Final = {Channel.SMS: "SMS", Channel.EMAIL: "Email"}


class ContractView(APIView):
    """A view that behaves the same whatever the host's ``REST_FRAMEWORK`` says."""

    authentication_classes = [BearerAuthentication]
    permission_classes = [MayCreateNotifications]
    parser_classes = [JsonParser]
    renderer_classes = [JsonRenderer]
    content_negotiation_class = OnlyJson
    throttle_classes = []
    versioning_class = None
    metadata_class = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        # A host's ATOMIC_REQUESTS would keep the reservation from being committed before the send.
        return transaction.non_atomic_requests(super().as_view(**initkwargs))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        request.get_host()  # a forged one is refused before anything is sent, not after
        super().initial(request, *args, **kwargs)

    def initialize_request(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> Request:
        return ContractRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def get_exception_handler(self) -> Callable[..., Response]:
        return answer_exception

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        match = self.request.resolver_match
        problem = getattr(answer, "data", None) if answer.status_code >= 400 else None
        telemetry.API_ANSWERS.add(
            route=(match and match.url_name) or "",
            status=str(answer.status_code),
            problem=(problem or {}).get("code", ""),
        )
        return answer

    def path_of(self, name: str, **kwargs: Any) -> str:
        """The path of one of our routes, under whatever name the host mounted us."""
        match = self.request.resolver_match
        namespace = match.namespace if match else "instant_notifications"
        return reverse(f"{namespace}:{name}", kwargs=kwargs)

    def answer_to_order(
        self, ordered: orders.Sent | orders.Placed, body: Mapping[str, Any], path: str
    ) -> Response:
        """201, or 200 for a repeat; ``path`` is where to ask what becomes of it."""
        response = Response(body, status=200 if ordered.replayed else 201)
        response["Location"] = self.request.build_absolute_uri(path)
        if ordered.replayed:
            response["Idempotent-Replayed"] = "true"
        if ordered.content_differs:
            response["Idempotent-Payload-Mismatch"] = "true"
        return response


def id_of(written: str) -> UUID:
    """What is no id at all cannot be found, like any other that is nobody's."""
    try:
        return UUID(written)
    except ValueError:
        raise NotFound from None


class InstantView(ContractView):
    """Send one message now."""

    serializer_class: ClassVar[type[InstantOrder]]

    def post(self, request: Request) -> Response:
        draft = self.serializer_class(data=request.data).draft(creator_of(request))
        with guard.counted():  # a repeat is reserved no more, and so is not charged
            sent = orders.send(draft, also=lambda _: guard.charge_send(draft.creator))
        path = self.path_of("shipment", shipment_id=sent.shipment_id)
        return self.answer_to_order(sent, _sent_body(sent), path)


class InstantSmsView(InstantView):
    serializer_class = InstantSms


class InstantEmailView(InstantView):
    serializer_class = InstantEmail


class DeprecatedInstantView(InstantView):
    """The first form of the SMS route. Every answer of it points to the successor."""

    serializer_class = DeprecatedInstantSms

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Deprecation"] = f"@{int(DEPRECATED_SINCE.timestamp())}"
        response["Link"] = f'<{self.path_of("instant-sms")}>; rel="successor-version"'
        return response


class ShipmentView(ContractView):
    """The delivery manifest of one shipment."""

    def get(self, request: Request, shipment_id: str) -> Response:
        report = feed.read_manifest(creator_of(request), id_of(shipment_id))
        if report is None:
            raise NotFound
        return Response(manifest_body(report))


class FeedView(ContractView):
    """The status feed of the calling organisation."""

    def get(self, request: Request) -> Response:
        given = {name.lower(): str(value) for name, value in request.query_params.items()}
        errors: dict[str, list[str]] = {}
        after = _whole_number(given, "seq", 0, errors)
        page_size = _whole_number(given, "pageSize", MAX_PAGE_SIZE, errors)
        newest_first = _newest_first(given, errors)
        if errors:
            raise InvalidRequest(errors)
        entries = feed.read_feed(
            creator_of(request),
            after=after,
            limit=min(max(page_size, 1), MAX_PAGE_SIZE),
            newest_first=newest_first,
        )
        response = Response([_entry_body(entry) for entry in entries])
        oldest, latest = feed.read_bounds(creator_of(request))
        response["X-Oldest-Sequence"], response["X-Latest-Sequence"] = str(oldest), str(latest)
        return response


def _whole_number(
    given: Mapping[str, str], name: str, default: int, errors: dict[str, list[str]]
) -> int:
    written = given.get(name.lower(), str(default))
    if written.isascii() and written.isdigit():
        digits = written.lstrip("0") or "0"
        return int(digits) if len(digits) < LARGEST_DIGITS else LARGEST_NUMBER
    errors[name] = ["Expected a whole number, 0 or greater."]
    return default


def _newest_first(given: Mapping[str, str], errors: dict[str, list[str]]) -> bool:
    written = given.get("orderby", "asc").lower()
    if written not in {"asc", "desc"}:
        errors["orderBy"] = ["Expected asc or desc."]
    return written == "desc"


def _sent_body(sent: orders.Sent) -> dict[str, Any]:
    return {"notificationOrderId": str(sent.order_id), "notification": shipment_body(sent)}


def shipment_body(shipment: orders.Sent | orders.PlacedShipment) -> dict[str, str]:
    body = {"shipmentId": str(shipment.shipment_id)}
    return _with_reference(body, shipment.senders_reference)


def manifest_body(report: feed.Report) -> dict[str, Any]:
    shipment = report.shipment
    return {
        **_with_reference({"shipmentId": str(shipment.pk)}, shipment.senders_reference),
        "type": shipment.type,
        "status": report.status,
        "lastUpdate": json_time(report.at),
        "recipients": [
            {
                "type": TYPE_WORDS[recipient.channel],
                "destination": recipient.destination,
                "status": recipient.status,
                "lastUpdate": json_time(recipient.at),
            }
            for recipient in report.recipients
        ],
    }


def _entry_body(report: feed.Report) -> dict[str, Any]:
    return {
        "sequenceNumber": report.sequence_number,
        "shipmentType": report.shipment.type,
        **manifest_body(report),
    }


def _with_reference(body: dict[str, str], senders_reference: str) -> dict[str, str]:
    return {**body, "sendersReference": senders_reference} if senders_reference else body
