"""One of Altinn's services, called with a token from Maskinporten, or a fixed one."""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from django.core.checks import CheckMessage, Error
from django.utils.text import capfirst

from instant_notifications import http
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.gateways.base import ask
from instant_notifications.gateways.maskinporten import Client, shared_token

EXCHANGE_PATH: Final = "/authentication/api/v1/exchange/maskinporten"


class AltinnService:
    """Where it is and how its token is had.

    ``whose`` stands in what is raised, as in "gateway 'altinn'". A blank ``exchange_url`` lies
    beside the service; ``None`` leaves the exchange out. ``maskinporten`` are the members of a
    ``Client``.
    """

    def __init__(
        self,
        url: str,
        *,
        whose: str,
        token: str = "",
        maskinporten: Mapping[str, str] | None = None,
        exchange_url: str | None = "",
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self._whose = whose
        if bool(token) == bool(maskinporten):
            raise NotConfigured(
                f"{capfirst(whose)} needs the option 'maskinporten' or, for development, 'token', "
                "and not both."
            )
        self._fixed_token = token
        self._client = Client(**maskinporten) if maskinporten else None
        self._exchange_url = _exchange_beside(self.url) if exchange_url == "" else exchange_url

    def say(self, method: str, path: str, deadline: float, **named: Any) -> http.Answer:
        """The service's answer. A refused token does nothing, so another one is tried."""
        token = self._token(deadline)
        answer = self._say_with(token, method, path, deadline, **named)
        if answer.status_code != 401 or self._client is None:
            return answer
        shared_token(self._client, self._exchange_url).forget(token)
        return self._say_with(self._token(deadline), method, path, deadline, **named)

    def check(self) -> Iterator[CheckMessage]:
        for name, url in self._addresses():
            if not http.is_private(url):
                yield Error(
                    f"The option {name!r} of {self._whose} is no https address, so tokens "
                    "and personal data would travel in clear.",
                    hint="Write it with https://; http:// is for this very machine only.",
                    id="instant_notifications.E010",
                )
        if self._client:
            try:
                self._client.check()
            except NotConfigured as error:
                yield Error(
                    f"{capfirst(self._whose)} would get no token. {error}",
                    hint="Set its option 'maskinporten' as your client is registered there.",
                    id="instant_notifications.E010",
                )

    def _addresses(self) -> Iterator[tuple[str, str]]:
        yield "url", self.url
        if self._client and self._exchange_url:
            yield "exchange_url", self._exchange_url

    def _say_with(
        self, token: str, method: str, path: str, deadline: float, **named: Any
    ) -> http.Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        timeout = left(deadline)
        return ask(method, self.url + path, headers=headers, timeout=timeout, **named)

    def _token(self, deadline: float) -> str:
        if self._client is None:
            return self._fixed_token
        return shared_token(self._client, self._exchange_url).get(left(deadline))


def left(deadline: float) -> float:
    """The seconds until then; raises ``Unavailable`` where there are none."""
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise Unavailable("out of time")
    return seconds


def _exchange_beside(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, EXCHANGE_PATH, "", ""))
