"""``manage.py send_email kari@example.com "…" --subject "…"``"""

from argparse import ArgumentParser
from typing import Any

from instant_notifications import orders
from instant_notifications.management.sending import SendCommand


class Command(SendCommand):
    help = f"Sends one e-mail now. {SendCommand.__doc__}"
    own_options = ("subject", "content_type")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--subject", required=True, help="on one line")
        parser.add_argument("--content-type", default="Plain", help="Plain or Html")

    def send(self, **message: Any) -> orders.Sent:
        return orders.send_email(**message)
