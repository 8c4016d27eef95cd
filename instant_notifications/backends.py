"""A class that the settings name by its dotted path, and one made with the options beside it."""

from typing import Any, TypeVar

from django.utils.module_loading import import_string
from django.utils.text import capfirst

from instant_notifications.exceptions import NotConfigured

T = TypeVar("T")


def backend_class(whose: str, configured: Any, base: type[T], kind: str) -> type[T]:
    """The class that these settings name. ``whose`` stands in what is raised, as in "gateway 'a'",
    and so does ``kind``, as in "gateway"."""
    try:
        found = import_string(configured["BACKEND"])
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise NotConfigured(
            f"{capfirst(whose)} has no usable BACKEND ({type(error).__name__}: {error}). "
            "Write the dotted path of its class."
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise NotConfigured(f"The BACKEND of {whose} is not a {kind} class.")
    return found


def made(whose: str, backend: type[T], *args: Any, options: Any) -> T:
    """One of this class; raises ``NotConfigured`` with what does not fit."""
    try:
        return backend(*args, **options)
    except NotConfigured:
        raise
    except TypeError as error:
        raise NotConfigured(f"The OPTIONS of {whose} do not fit: {error}.") from error
    except Exception as error:  # noqa: BLE001 (a class of the host's may raise anything)
        kind = type(error).__name__  # its text may quote an option
        raise NotConfigured(f"The OPTIONS of {whose} do not fit: {kind}.") from None
