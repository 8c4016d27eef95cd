"""``manage.py simulator_inbox``: what the simulated recipients have received."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import localtime

from instant_notifications.simulator.models import SimulatedMessage


class Command(BaseCommand):
    help = "Prints the newest messages that the simulator has taken, in clear."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--last", type=int, default=10, help="how many (default 10)")

    def handle(self, *, last: int, **options: Any) -> None:  # noqa: ARG002
        messages = list(SimulatedMessage.objects.order_by("-pk")[: max(last, 0)])
        if not messages:
            self.stdout.write("The inbox is empty.")
        for message in reversed(messages):
            when = localtime(message.received_at).strftime("%Y-%m-%d %H:%M:%S")
            title = (
                f"{when}  {message.channel}  to {message.destination}  from {message.sender or '—'}"
            )
            self.stdout.write(self.style.MIGRATE_HEADING(title))
            self.stdout.write(f"  {message.gateway_reference}")
            if message.subject:
                self.stdout.write(f"  {message.subject}")
            for line in (message.body or "").splitlines():
                self.stdout.write(f"  {line}")
