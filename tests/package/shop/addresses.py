from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
    path("login/", include("shop.login")),
]
