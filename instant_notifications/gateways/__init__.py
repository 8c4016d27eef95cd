"""The gateways a host has configured, by alias: ``gateways["mail"]``."""

from typing import Any

from asgiref.local import Local
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

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
            made: BaseGateway = getattr(self._made, alias)
        except AttributeError:
            made = self.create(alias)
            setattr(self._made, alias, made)
        return made

    def create(self, alias: str) -> BaseGateway:
        try:
            configured = settings.GATEWAYS[alias]
        except KeyError:
            raise NotConfigured(
                f"There is no gateway {alias!r}. Add it to {SETTINGS_NAME}['GATEWAYS']."
            ) from None
        backend = gateway_class(alias, configured)
        try:
            return backend(alias, **configured.get("OPTIONS", {}))
        except NotConfigured:
            raise
        except TypeError as error:
            raise NotConfigured(f"The OPTIONS of gateway {alias!r} do not fit: {error}.") from error
        except Exception as error:  # noqa: BLE001 (a gateway of the host's may raise anything)
            kind = type(error).__name__  # its text may quote an option
            raise NotConfigured(f"The OPTIONS of gateway {alias!r} do not fit: {kind}.") from None

    def forget(self) -> None:
        self._made = Local()


def gateway_class(alias: str, configured: Any) -> type[BaseGateway]:
    """The class that a gateway's settings name."""
    try:
        found = import_string(configured["BACKEND"])
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise NotConfigured(
            f"Gateway {alias!r} has no usable BACKEND ({type(error).__name__}: {error}). "
            "Write the dotted path of its class."
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseGateway)):
        raise NotConfigured(f"The BACKEND of gateway {alias!r} is not a gateway class.")
    return found


gateways = GatewayHandler()


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting == SETTINGS_NAME:
        gateways.forget()


setting_changed.connect(_forget_on_change, dispatch_uid="instant_notifications.gateways")
