"""What the pages of the console have in common."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.http import require_POST

from instant_notifications.history import storable
from instant_notifications.models import primary

View = Callable[..., HttpResponseBase]


class NoLocals(SafeExceptionReporterFilter):
    """An error is reported by its place: the variables on the way there may be personal."""

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:  # noqa: ARG002
        return {}.items()


def keep_from_reports(request: HttpRequest) -> None:
    """What is searched for, sent or kept is personal: no report of an error may quote it."""
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]
    request.exception_reporter_filter = NoLocals()


class ReadOnly:
    """Nobody adds, changes or deletes history by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class Page(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Of a model, with views of its own beside Django's; right in every ``AdminSite``."""

    def named(self, view: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"

    def address(self, view: str, *args: object) -> str:
        return reverse(f"admin:{self.named(view)}", args=args, current_app=self.admin_site.name)

    def to(self, view: str, *args: object) -> HttpResponse:
        return redirect(self.address(view, *args))

    def may(self, request: HttpRequest, action: str) -> bool:
        """Whether somebody may do this; who may do anything may look as well."""
        if not self.has_view_permission(request):
            return False
        codename = get_permission_codename(action, self.opts)
        return action == "view" or request.user.has_perm(f"{self.opts.app_label}.{codename}")

    def story_of(self, shipment_id: UUID) -> str:
        """The address of a message's own page in the same site."""
        name = "admin:instant_notifications_shipment_change"
        return reverse(name, args=[shipment_id], current_app=self.admin_site.name)

    def shown(self, view: View, name: str, *, action: str, of: str = "") -> URLPattern:
        """The route of a page for those who may do this action.

        ``of`` stands before its name in the address, as in ``"<uuid:key>/"``.
        """

        def guarded(request: HttpRequest, **captured: Any) -> HttpResponseBase:
            keep_from_reports(request)
            if not self.may(request, action):
                raise PermissionDenied
            return view(request, **captured)

        # A message is reserved, sent and recorded in transactions of its own.
        whole = non_atomic_requests(primary())(self.admin_site.admin_view(guarded))
        return path(f"{of}{name}/", whole, name=self.named(name))

    def posted(self, view: View, name: str, *, action: str, of: str = "") -> URLPattern:
        """The route of a view that acts, or searches, and so only by POST."""
        return self.shown(require_POST(view), name, action=action, of=of)

    def show(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        whole = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        place = f"admin/{self.opts.app_label}/{self.opts.model_name}/{template}"
        return TemplateResponse(request, place, whole)


def reason(request: HttpRequest) -> str:
    """Why somebody does what the form asks for, fit for every table; blank for no reason."""
    return storable(request.POST.get("because", "").strip())


def uuids(written: Iterable[str]) -> Sequence[UUID]:
    """Those that are some."""
    found = []
    for each in written:
        with suppress(ValueError):
            found.append(UUID(each))
    return found


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody turns pages, so that the count stays fast on a big table."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        return cast("QuerySet[Any]", self.object_list)[: self.LIMIT].count()


class BoundedList(Page):
    """Of rows in the order they were made, which nothing is done to as a list."""

    list_per_page = 50
    sortable_by = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    ordering = ("-pk",)
