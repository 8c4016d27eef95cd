"""What the commands that send a message have in common."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from instant_notifications.exceptions import (
    InvalidMessage,
    NotificationError,
    OutcomeUnknown,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.orders import Sent

EXIT_FAILED = 1
EXIT_NOT_SENT = 2
EXIT_UNKNOWN = 3


class SendCommand(BaseCommand):
    """Exit status: 0 a gateway took it, 1 refused or invalid, 2 not sent, 3 may have been sent."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("to", help="the recipient")
        parser.add_argument("body", nargs="?", default="-", help="the text; without it, stdin")
        parser.add_argument("--sender", default="", help="whom it comes from, as is shown")
        parser.add_argument(
            "--secret", action="store_true", help="erase the text once it is not needed"
        )
        parser.add_argument("--idempotency-id", default="", help="the same id never sends twice")
        parser.add_argument("--senders-reference", default="", help="of yours, to find it by")
        parser.add_argument("--org", dest="creator", default="", help="the sending organisation")

    def send(self, **message: Any) -> Sent:
        raise NotImplementedError

    def handle(self, **options: Any) -> None:
        common = ("to", "sender", "secret", "idempotency_id", "senders_reference", "creator")
        body = sys.stdin.read().removesuffix("\n") if options["body"] == "-" else options["body"]
        try:
            sent = self.send(
                body=body, **{name: options[name] for name in (*common, *self.own_options)}
            )
        except NotificationError as error:
            raise CommandError(_explain(error), returncode=_exit_status(error)) from None
        replayed = " (sent before)" if sent.replayed else ""
        self.stdout.write(f"{sent.status}{replayed} shipment {sent.shipment_id}")

    own_options: tuple[str, ...] = ()


def _explain(error: NotificationError) -> str:
    if isinstance(error, InvalidMessage):
        return "\n".join(f"{name}: {' '.join(said)}" for name, said in error.errors.items())
    shipment_id = getattr(error, "shipment_id", None)
    return f"{error} Shipment {shipment_id}." if shipment_id else str(error)


def _exit_status(error: NotificationError) -> int:
    if isinstance(error, Unavailable):
        return EXIT_NOT_SENT
    may_have_left = isinstance(error, OutcomeUnknown | StillUnderWay)
    return EXIT_UNKNOWN if may_have_left else EXIT_FAILED
