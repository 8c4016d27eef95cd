"""A host that takes anymail's tracking events."""

from django.urls import include, path

urlpatterns = [path("anymail/", include("anymail.urls"))]
