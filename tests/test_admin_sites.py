"""The console in surroundings that a host has made its own."""

import os
import subprocess
import sys
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.test import Client
from django.urls import include, path, reverse

from instant_notifications.admin import PAGES, register
from instant_notifications.simulator.admin import InboxAdmin
from instant_notifications.simulator.models import SimulatedMessage
from tests.conftest import API, sms
from tests.console import OURS, furnish, templates_of_pages, walk

ops = AdminSite(name="ops")
register(ops)
ops.register(SimulatedMessage, InboxAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("night/watch/", ops.urls),
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
]

ROOTS: Final = {"admin": "/admin/", "ops": "/night/watch/"}
BEHIND_THE_LOG_IN: Final = (
    "admin:instant_notifications_shipment_changelist",
    *(["instant_notifications:schema"] if apps.is_installed("drf_spectacular") else []),
)
LOGIN_REQUIRED: Final = "django.contrib.auth.middleware.LoginRequiredMiddleware"


@pytest.fixture
def two_sites(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]


@pytest.fixture
def console(two_sites: None) -> Client:
    furnish()
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("site", ROOTS)
def test_every_page_stays_in_its_site_and_within_a_strict_policy(
    site: str, console: Client
) -> None:
    rendered = set()
    for visit in walk(console, ROOTS[site]):
        assert visit.answer.status_code in {200, 302}, visit.path
        assert visit.markup.forbidden == [], visit.path
        targets = [*visit.markup.links, *(form.action for form in visit.markup.forms)]
        targets.append(visit.answer.headers.get("Location", ""))
        for target in targets:
            is_within = target.startswith((ROOTS[site], "/static/", "?", "#")) or target in "/"
            assert is_within, f"{visit.path} leads to {target}"
        rendered |= {template.name for template in visit.answer.templates}
    assert templates_of_pages() <= rendered


def test_whatever_has_a_page_is_in_both_sites() -> None:
    ours = {model for model in admin.site._registry if model._meta.app_label == OURS[0]}
    assert set(PAGES) == ours
    register(ops)  # once more does no harm


def test_a_site_that_takes_the_place_of_djangos_has_the_console() -> None:
    program = """
import sys, django
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from tests import settings as host

class Site(AdminSite):
    name = "replaced"

class Config(AdminConfig):
    default_site = "__main__.Site"

host.INSTALLED_APPS[0] = "__main__.Config"
sys.modules["__main__"].__file__ = host.__file__
settings.configure(**{name: getattr(host, name) for name in dir(host) if name.isupper()})
django.setup()
from django.contrib import admin
from django.urls import reverse
assert type(admin.site._wrapped) is Site
print(reverse("admin:instant_notifications_shipment_search", current_app=admin.site.name))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.stdout == "/admin/instant_notifications/shipment/search/\n", done.stderr


@pytest.mark.django_db
def test_where_all_must_log_in_the_api_still_answers_for_itself(two_sites: None, api: Any) -> None:
    route = f"{API}future/orders/instant/sms"
    assert api.post(route, sms(), format="json").status_code == 201
    assert Client().post(route, sms(), "application/json").status_code == 401
    assert Client().post(f"{API}delivery-reports/simulator").status_code == 401


@pytest.mark.django_db
@pytest.mark.usefixtures("two_sites")
@pytest.mark.parametrize("page", BEHIND_THE_LOG_IN)
def test_where_all_must_log_in_a_stranger_sees_no_page(page: str, settings: Any) -> None:
    assert Client().get(reverse(page)).headers["Location"].startswith(settings.LOGIN_URL)
