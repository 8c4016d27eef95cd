from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("codes/", include("example_project.codes")),
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
    # Under any web server and without DEBUG: a stand-in needs its styles, and has no secret files.
    path("static/<path:path>", serve, {"insecure": True}),
]
