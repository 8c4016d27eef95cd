"""Receipts that gateways push: ``POST delivery-reports/{gateway}``.

It is part of the API's routes. A project without the API may mount it alone:
``path("notifications/", include("instant_notifications.webhooks"))``.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError, transaction
from django.http import HttpRequest, HttpResponse, RawPostDataException
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from instant_notifications import privacy, receipts, telemetry
from instant_notifications.conf import settings
from instant_notifications.exceptions import NotConfigured
from instant_notifications.gateways import BaseGateway, Receipt, UnreadableReceipts, gateways
from instant_notifications.incoming import chunked_body

logger = logging.getLogger("instant_notifications.webhooks")

COME_AGAIN: Final = {"Retry-After": "30"}
"""For a provider that shall repeat what could not be written down."""

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="receipts"'}


class _Refused(Exception):  # noqa: N818
    """Ends the request with this status; the reason goes to the log alone."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        super().__init__(reason)


# A provider has no session and no CSRF token; the gateway's own file authenticates it. Each receipt
# is a transaction of its own, whatever the host's ATOMIC_REQUESTS says.
@method_decorator(csrf_exempt, name="dispatch")
@method_decorator(login_not_required, name="dispatch")
class DeliveryReportsView(View):
    """Authenticate, read, write down; only then acknowledge. Repeats change nothing."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, gateway: str) -> HttpResponseBase:
        try:
            return _receive(request, gateway)
        except _Refused as refused:
            known = gateway[:64] if gateway in settings.GATEWAYS else "?"
            telemetry.PUSHES_REFUSED.add(gateway=known, status=str(refused.status))
            logger.warning(
                "receipts refused gateway=%s status=%d reason=%s",
                known,
                refused.status,
                refused.reason,
            )
            return HttpResponse(status=refused.status, headers=refused.headers)


def _receive(request: HttpRequest, alias: str) -> HttpResponseBase:
    gateway = _gateway(alias)
    _require_bounded_body(request)
    _authenticate(gateway, request)
    pushed = _read(gateway, request)
    _record(gateway, pushed)
    return _acknowledge(gateway, pushed)


def _gateway(alias: str) -> BaseGateway:
    if alias not in settings.GATEWAYS:
        raise _Refused(404, "no such gateway")
    try:
        return gateways[alias]
    except NotConfigured as error:
        raise _Refused(503, str(error), COME_AGAIN) from None


def _require_bounded_body(request: HttpRequest) -> None:
    limit = settings.MAX_REQUEST_BYTES
    try:
        if stream := chunked_body(request.META):
            request._body = stream.read(limit + 1)
        too_large = len(request.body) > limit
    except RequestDataTooBig:
        too_large = True
    except RawPostDataException:
        return  # a middleware has read it as a form already, within Django's own limits
    except (OSError, ValueError):
        raise _Refused(400, "the body did not arrive whole") from None
    if too_large:
        raise _Refused(413, "too large")


def _authenticate(gateway: BaseGateway, request: HttpRequest) -> None:
    try:
        genuine = gateway.authenticates(request)
    except Exception as error:  # noqa: BLE001 (closed by default)
        raise _Refused(401, privacy.place_of(error), CHALLENGE) from None
    if genuine is not True:
        raise _Refused(401, "not authenticated", CHALLENGE)


def _read(gateway: BaseGateway, request: HttpRequest) -> Sequence[Receipt]:
    try:
        return list(gateway.read_receipts(request))
    except UnreadableReceipts as error:
        raise _Refused(400, str(error)) from None
    except Exception as error:  # noqa: BLE001 (hostile input must not make noise)
        raise _Refused(400, privacy.place_of(error)) from None


def _record(gateway: BaseGateway, pushed: Sequence[Receipt]) -> None:
    """Each by itself: one that cannot be written down does not hold up the others."""
    failed = 0
    for receipt in pushed:
        try:
            receipts.record_receipt(gateway.alias, receipt)
        except (InterfaceError, OperationalError) as error:
            reason = f"database away: {privacy.place_of(error)}"
            raise _Refused(503, reason, COME_AGAIN) from None
        except Exception as error:  # noqa: BLE001 (see above)
            failed += 1
            logger.error(  # noqa: TRY400
                "receipt not recorded gateway=%s error=%s", gateway.alias, privacy.place_of(error)
            )
    logger.info("receipts gateway=%s count=%d failed=%d", gateway.alias, len(pushed), failed)
    if failed:
        raise _Refused(503, f"{failed} not recorded", COME_AGAIN)


def _acknowledge(gateway: BaseGateway, pushed: Sequence[Receipt]) -> HttpResponseBase:
    try:
        answer: object = gateway.acknowledge(pushed)
    except Exception as error:  # noqa: BLE001 (all is written down; a repeat changes nothing)
        raise _Refused(503, privacy.place_of(error), COME_AGAIN) from None
    if not isinstance(answer, HttpResponseBase):
        raise _Refused(503, "no acknowledgement", COME_AGAIN)
    return answer


def take_tracking_event(event: Any, esp_name: str, **_: Any) -> None:
    """Receives anymail's ``tracking``: writes down what an event says of messages of ours.

    Anymail's view has authenticated the push, and calls this for each of its events. What is raised
    here ends the push with 500, so that the provider repeats it whole; repeats change nothing.
    """
    from instant_notifications.gateways.anymail import receipt_from, senders_of  # an extra

    receipt = receipt_from(event)
    if receipt is None:
        return
    for alias in senders_of(event, esp_name):
        receipts.record_receipt(alias, receipt)
        logger.info("receipts gateway=%s count=%d failed=%d", alias, 1, 0)


urlpatterns = [
    path(
        "delivery-reports/<str:gateway>",
        transaction.non_atomic_requests(DeliveryReportsView.as_view()),
        name="delivery-reports",
    )
]
