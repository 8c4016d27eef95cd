"""JSON in and out, independent of what the host has configured for its own API."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from instant_notifications import rules
from instant_notifications.api.problems import InvalidRequest, TooLarge
from instant_notifications.conf import settings
from instant_notifications.incoming import chunked_body

ROOT = "$"


class ContractRequest(Request):
    """A request whose body may come in chunks, without a length."""

    def _load_stream(self) -> None:
        super()._load_stream()  # type: ignore[misc]
        chunked = chunked_body(self._request.META)
        if chunked is not None:
            self._stream = chunked


class JsonParser(BaseParser):
    """One JSON object in UTF-8, of bounded size."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        limit = settings.MAX_REQUEST_BYTES
        try:
            body = stream.read(limit + 1)
        except RequestDataTooBig:
            raise TooLarge from None
        except OSError:
            raise InvalidRequest({ROOT: ["The body did not arrive whole."]}) from None
        if len(body) > limit:
            raise TooLarge
        try:
            data = json.loads(body.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise InvalidRequest({ROOT: ["Expected valid JSON in UTF-8."]}) from None
        if not isinstance(data, dict):
            raise InvalidRequest({ROOT: [rules.NOT_OBJECT]})
        return data


def json_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refuse_constant(name: str) -> None:
    """``NaN`` and the like are Python's, not JSON's."""
    raise ValueError(name)


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,  # noqa: ARG002
        renderer_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> bytes:
        if data is None:
            return b""
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


class OnlyJson(BaseContentNegotiation):
    """Whatever the caller says it accepts, there is only one thing to have."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        given = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == given), None)

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)
