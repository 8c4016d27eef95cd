"""What can go wrong with a code, besides what can go wrong with any message."""

from instant_notifications.exceptions import NotificationError, TooManyRequests


class TooManyCodes(TooManyRequests):
    """Not another code to this recipient yet; ``limit`` is the setting that says so."""


class Unknown(NotificationError):  # noqa: N818
    """There is no such challenge, or it has ended, or it is somebody else's."""

    def __init__(self) -> None:
        super().__init__("There is no code to go on from.")
