from datetime import datetime, timedelta

from django.utils import timezone


class Clock:
    """What time it is, as far as the app can tell."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def __call__(self) -> datetime:
        return self.now

    def go(self, by: timedelta) -> None:
        self.now += by
