"""Mail backends of other kinds than SMTP, as a host may have them."""

from collections.abc import Sequence
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend


class Stumbling(BaseEmailBackend):
    """Fails in a way nobody foresaw, with personal data in its text."""

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        raise RuntimeError(f"cannot send to {email_messages[0].to}")


class OutOfReach(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[Any]) -> int:
        raise ConnectionRefusedError


class Idle(BaseEmailBackend):
    """Sends nothing and says so."""

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        return 0
