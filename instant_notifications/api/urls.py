"""``path("notifications/api/v1/", include("instant_notifications.api.urls"))``"""

from django.apps import apps
from django.urls import URLPattern, URLResolver, include, path

from instant_notifications.api import orders, views

app_name = "instant_notifications"

urlpatterns: list[URLPattern | URLResolver] = [
    path("future/orders/instant/sms", views.InstantSmsView.as_view(), name="instant-sms"),
    path("future/orders/instant/email", views.InstantEmailView.as_view(), name="instant-email"),
    path("future/orders/instant", views.DeprecatedInstantView.as_view(), name="instant"),
    path("future/orders", orders.OrdersView.as_view(), name="orders"),
    path("future/orders/<str:order_id>", orders.OrderView.as_view(), name="order"),
    path(
        "future/orders/<str:order_id>/cancel", orders.CancelOrderView.as_view(), name="cancel-order"
    ),
    path(
        "orders/<str:shipment_id>/cancel",
        orders.CancelShipmentView.as_view(),
        name="cancel-shipment",
    ),
    path("future/shipment/feed", views.FeedView.as_view(), name="feed"),
    path("future/shipment/<str:shipment_id>", views.ShipmentView.as_view(), name="shipment"),
    path("", include("instant_notifications.webhooks")),
]

if apps.is_installed("instant_notifications.otp"):
    urlpatterns += [path("otp/", include("instant_notifications.otp.api"))]
if apps.is_installed("drf_spectacular"):
    from instant_notifications.api import openapi

    openapi.describe()
    urlpatterns += [path("schema/", include(openapi))]
