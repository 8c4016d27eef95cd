"""What the pages of the console have in common."""

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.views.decorators.http import require_POST


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

    def to(self, view: str, *args: object) -> HttpResponse:
        name = f"admin:{self.named(view)}"
        return redirect(reverse(name, args=args, current_app=self.admin_site.name))

    def posted(self, view: Callable[[HttpRequest], HttpResponse], name: str) -> URLPattern:
        """The route of a view that acts, or searches, and so only by POST."""
        guarded = self.admin_site.admin_view(require_POST(view))
        return path(f"{name}/", guarded, name=self.named(name))

    def show(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        whole = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        place = f"admin/{self.opts.app_label}/{self.opts.model_name}/{template}"
        return TemplateResponse(request, place, whole)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody turns pages, so that the count stays fast on a big table."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        return cast("QuerySet[Any]", self.object_list)[: self.LIMIT].count()
