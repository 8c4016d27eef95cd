"""What can go wrong, in words a caller can act on.

No message, attribute or cause of these ever holds a destination, a content or a code.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import UUID


class NotificationError(Exception):
    """Base of everything this app raises on purpose."""


class NotConfigured(NotificationError):  # noqa: N818 (reads as a sentence where it is raised)
    """The host's settings lack something; the text says what to set."""


class OpenTransaction(NotificationError):  # noqa: N818
    """A message was to be sent, or a code tried, while a database transaction was open."""

    def __init__(self) -> None:
        super().__init__(
            "A message cannot be sent, nor a code tried, inside an open transaction: if it were "
            "rolled back, the message would have left without a trace, the attempt would not "
            "count. Do it after the commit, for example with transaction.on_commit(), or before."
        )


class InvalidMessage(NotificationError):  # noqa: N818
    """The message breaks a rule; ``errors`` tells which, by argument name."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{name}: {' '.join(said)}" for name, said in errors.items()))


class NotAllowed(NotificationError):  # noqa: N818
    """A person wanted to do something about a message that must not be done; ``why`` tells."""

    def __init__(self, why: object) -> None:
        self.why = why
        super().__init__(str(why))


class MissingContact(NotificationError):  # noqa: N818
    """Nobody knows how to reach some of the recipients; ``places`` counts them from 0."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = places
        super().__init__(f"No contact information for {len(places)} of the recipients.")


class NotFound(NotificationError):  # noqa: N818
    """There is no such order or shipment, or it is somebody else's."""

    def __init__(self) -> None:
        super().__init__("There is no such order.")


class TooLate(NotificationError):  # noqa: N818
    """Nothing is left that could be cancelled: everything has been handed over, or is about to."""

    def __init__(self) -> None:
        super().__init__("Nothing is left that could be cancelled.")


class HandoverFailed(NotificationError):  # noqa: N818
    """The gateways did not take the message.

    ``reason`` is safe to log. ``only_this_message`` says that the provider itself is well, so that
    others may go by it. Of a message that was reserved, ``order_id`` and ``shipment_id`` tell where
    to look.
    """

    summary: ClassVar[str] = "The message was not handed over."
    order_id: UUID | None = None
    shipment_id: UUID | None = None
    gateway: str = ""

    def __init__(
        self, reason: str = "", *, retry_after: int | None = None, only_this_message: bool = False
    ) -> None:
        self.reason = reason
        self.retry_after = retry_after
        self.only_this_message = only_this_message
        super().__init__(f"{self.summary} ({reason})" if reason else self.summary)


class Rejected(HandoverFailed):
    """Final: no gateway will ever take this message. ``status`` is the word to record."""

    summary = "The gateway refused the message."

    def __init__(
        self, reason: str = "", *, status: str = "", retry_after: int | None = None
    ) -> None:
        self.status = status
        super().__init__(reason, retry_after=retry_after, only_this_message=True)


class Unavailable(HandoverFailed):
    """Certainly not sent, so the next gateway or a later attempt is safe."""

    summary = "No gateway could take the message now; it was not sent."


class OutcomeUnknown(HandoverFailed):
    """It may have been sent. Never tried again by itself."""

    summary = "It is not known whether the message was sent."


class StillUnderWay(HandoverFailed):
    """Another request with the same idempotency id is still handing the message over."""

    summary = "A message with this idempotency id is still being handed over."


class TooManyRequests(NotificationError):  # noqa: N818
    """Not now: ``limit`` names what was reached, ``retry_after`` the seconds to wait."""

    def __init__(self, limit: str, retry_after: int) -> None:
        self.limit, self.retry_after = limit, retry_after
        super().__init__(f"Too many requests ({limit}); try again in {retry_after} s.")


class ContentMismatch(NotificationError):  # noqa: N818
    """The idempotency id was used before, with other content (strict mode)."""

    def __init__(self) -> None:
        super().__init__("This idempotency id was used before with other content.")


class Blocked(NotificationError):  # noqa: N818
    """Not at all: an operator, or the guard, keeps the recipient or the caller out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"No code is sent here ({reason}).")
