"""One-time codes: issue, verify, resend.

``issue(recipient, purpose=…)`` sends a code and returns its ``Challenge``;
``verify(challenge.id, code, purpose=…)`` says whether somebody has it. See ``docs/otp.md``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instant_notifications.otp.challenges import Reason, Result, issue, resend, verify
    from instant_notifications.otp.exceptions import TooManyCodes, Unknown

__all__ = ["Reason", "Result", "TooManyCodes", "Unknown", "issue", "resend", "verify"]


def __getattr__(name: str) -> Any:
    """On first use: while Django loads its apps there are no models yet."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from instant_notifications.otp import challenges

    return getattr(challenges, name)
