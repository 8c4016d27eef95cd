"""The gateways a host has configured, by alias: ``gateways["mail"]``."""

from typing import Any

from asgiref.local import Local
from django.core.signals import setting_changed

from instant_notifications.backends import backend_class, made
from instant_notifications.conf import SETTINGS_NAME, settings
from instant_notifications.exceptions import NotConfigured
from instant_notifications.gateways.base import (
    BaseGateway,
    FeedItem,
    FeedPage,
    Message,
    Receipt,
    UnreadableReceipts,
    has_basic_credentials,
    only_asking,
)

__all__ = [
    "BaseGateway",
    "FeedItem",
    "FeedPage",
    "Message",
    "Receipt",
    "UnreadableReceipts",
    "gateways",
    "has_basic_credentials",
    "only_asking",
]


class GatewayHandler:
    """One instance of each gateway for each thread, made on first use."""

    def __init__(self) -> None:
        self._made = Local()

    def __getitem__(self, alias: str) -> BaseGateway:
        try:
            gateway: BaseGateway = getattr(self._made, alias)
        except AttributeError:
            gateway = self.create(alias)
            setattr(self._made, alias, gateway)
        return gateway

    def create(self, alias: str) -> BaseGateway:
        try:
            configured = settings.GATEWAYS[alias]
        except KeyError:
            raise NotConfigured(
                f"There is no gateway {alias!r}. Add it to {SETTINGS_NAME}['GATEWAYS']."
            ) from None
        backend = gateway_class(alias, configured)
        return made(f"gateway {alias!r}", backend, alias, options=configured.get("OPTIONS", {}))

    def forget(self) -> None:
        self._made = Local()


def gateway_class(alias: str, configured: Any) -> type[BaseGateway]:
    """The class that a gateway's settings name."""
    return backend_class(f"gateway {alias!r}", configured, BaseGateway, "gateway")


gateways = GatewayHandler()


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting == SETTINGS_NAME:
        gateways.forget()


setting_changed.connect(_forget_on_change, dispatch_uid="instant_notifications.gateways")
