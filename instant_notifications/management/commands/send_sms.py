"""``manage.py send_sms +4799999999 "…"``"""

from argparse import ArgumentParser
from typing import Any

from instant_notifications import orders
from instant_notifications.management.sending import SendCommand


class Command(SendCommand):
    help = f"Sends one SMS now. {SendCommand.__doc__}"
    own_options = ("time_to_live",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--time-to-live", type=int, default=orders.DEFAULT_TIME_TO_LIVE, help="in seconds"
        )

    def send(self, **message: Any) -> orders.Sent:
        return orders.send_sms(**message)
