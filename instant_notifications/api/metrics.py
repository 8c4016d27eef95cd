"""``path("metrics", include("instant_notifications.api.metrics"))``: what Prometheus scrapes."""

from typing import Final

from django.http import HttpResponse
from django.urls import path
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from instant_notifications import metrics, tokens
from instant_notifications.api.views import ContractView

SCOPE: Final = "instant_notifications/metrics.read"


class MayReadMetrics(BasePermission):
    """A scope of its own: an organisation that sends need not know how others fare."""

    message = f"The token needs the scope {SCOPE}."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        caller = request.auth
        return isinstance(caller, tokens.Caller) and SCOPE in caller.scopes


class MetricsView(ContractView):
    """All metrics of the process, the host's own included."""

    permission_classes = [MayReadMetrics]
    schema = None

    def get(self, request: Request) -> HttpResponse:
        body, content_type = metrics.page(request.headers.get("Accept", ""))
        return HttpResponse(body, content_type=content_type)


urlpatterns = [path("", MetricsView.as_view(), name="metrics")]
