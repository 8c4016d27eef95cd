"""A host that takes receipts and does not serve the API."""

from django.urls import include, path

urlpatterns = [path("only/", include("instant_notifications.webhooks"))]
