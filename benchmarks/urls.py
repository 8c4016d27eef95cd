from django.urls import include, path

from benchmarks.floor.views import send_sms

urlpatterns = [
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
    path("floor/sms", send_sms),
]
