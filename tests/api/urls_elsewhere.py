"""A host that has mounted the app at another place, under other names, one inside another."""

from django.urls import include, path

inner = [path("deep/", include("instant_notifications.api.urls", namespace="inner"))]

urlpatterns = [
    path("elsewhere/", include("instant_notifications.api.urls", namespace="other")),
    path("outer/", include((inner, "outer"))),
]
