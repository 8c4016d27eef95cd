"""What ``make run`` shows before it serves: the main job, and everything needed to try it."""

from argparse import ArgumentParser
from time import monotonic, sleep
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils import timezone

from example_project import traffic
from instant_notifications import recipients, tokens
from instant_notifications.models import Delivery, Organisation
from instant_notifications.orders import Email, Reminder, place_order, read_order, send_sms
from instant_notifications.statuses import is_final

ORGANISATION = "ttd"
LOGIN = "admin"
PATIENCE = 10.0

SMS = (
    '{"idempotencyId": "sms-\'$(date +%s)\'", "recipientSms": {"phoneNumber": "+4799999999",'
    ' "timeToLiveInSeconds": 300, "smsSettings": {"body": "Your code is 123456"}}}'
)
EMAIL = (
    '{"idempotencyId": "email-\'$(date +%s)\'", "recipientEmail": {"emailAddress":'
    ' "kari@example.com", "emailSettings": {"subject": "Your code", "body": "It is 123456"}}}'
)
ORDER = (
    '{"idempotencyId": "order-\'$(date +%s)\'", "recipient": {"recipientSms": {"phoneNumber":'
    ' "+4799999999", "smsSettings": {"body": "Bring your papers.", "sendingTimePolicy":'
    ' "Daytime"}}}, "reminders": [{"delayDays": 1, "recipient": {"recipientSms": {"phoneNumber":'
    ' "+4799999999", "smsSettings": {"body": "Do not forget."}}}}]}'
)


class Command(BaseCommand):
    help = "Prepares the example project, sends one SMS through it and tells how to go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", default="8000", help="where the server will listen")
        parser.add_argument(
            "--no-traffic", action="store_true", help="leave the day of demo traffic out"
        )

    def handle(self, *, port: str, no_traffic: bool, **options: Any) -> None:  # noqa: ARG002
        call_command("migrate", verbosity=0)
        Organisation.objects.get_or_create(name=ORGANISATION)
        _make_admin()
        if not no_traffic:
            self._fill()
        shipment_id = self._send()
        self._place_order()
        self._show_how_to_go_on(f"http://127.0.0.1:{port}", shipment_id)

    def _fill(self) -> None:
        self._title("A day of demo traffic, for the console")
        try:
            added = traffic.fill(timezone.now())
        except traffic.Refused as refused:
            self.stdout.write(f"  None: {refused}")
            return
        self.stdout.write(
            f"  {added or 'No new'} made-up messages of {', '.join(traffic.CREATORS)}"
        )
        self.stdout.write(
            "  To be rid of it: make clean, then make run TRAFFIC=no (or demo --no-traffic)"
        )

    def _send(self) -> str:
        self._title("One SMS through the simulator")
        sent = send_sms("+4799999999", "Your code is 428516", creator=ORGANISATION)
        self.stdout.write(f"  {sent.status:15} shipment {sent.shipment_id}")
        seen, give_up = sent.status, monotonic() + PATIENCE
        while not is_final(seen) and monotonic() < give_up:
            sleep(0.1)
            now = Delivery.objects.values_list("status", flat=True).get(shipment=sent.shipment_id)
            if now != seen:
                self.stdout.write(f"  {now}")
            seen = now
        return str(sent.shipment_id)

    def _place_order(self) -> None:
        self._title("A regular order: an e-mail now, a reminder in a week")
        reminder = Reminder(days=7, email=Email("Your appointment", "It is tomorrow."))
        placed = place_order(
            recipients.mailbox("ola@example.com"),
            email=Email("Your appointment", "It is on Thursday next week."),
            reminders=[reminder],
            creator=ORGANISATION,
        )
        chain = read_order(ORGANISATION, placed.order_id)
        for each in (*chain.notifications, *chain.reminders) if chain else ():
            day = timezone.localtime(each.requested_at).date()
            self.stdout.write(f"  {each.report.status:16} {each.report.shipment.type} of {day}")

    def _show_how_to_go_on(self, address: str, shipment_id: str) -> None:
        api = f"{address}/notifications/api/v1"
        self._title("Try it in another terminal")
        self.stdout.write(f"export TOKEN={tokens.issue(ORGANISATION, expires_in=24 * 3600)}\n\n")
        for path, body in (("sms", SMS), ("email", EMAIL)):
            self.stdout.write(
                f'curl -sS {api}/future/orders/instant/{path} -H "Authorization: Bearer $TOKEN"'
                f" -H 'Content-Type: application/json' -d '{body}'\n\n"
            )
        self.stdout.write(
            f'curl -sS {api}/future/orders -H "Authorization: Bearer $TOKEN"'
            f" -H 'Content-Type: application/json' -d '{ORDER}'\n\n"
        )
        for path in (shipment_id, "feed"):
            self.stdout.write(
                f'curl -sS {api}/future/shipment/{path} -H "Authorization: Bearer $TOKEN"\n\n'
            )
        self._title("Look at it")
        self.stdout.write(f"  API documents   {api}/schema/swagger/")
        self.stdout.write(f"  Console         {address}/admin/   login {LOGIN} / {LOGIN}")
        self.stdout.write(f"  Codes           {address}/codes/   type a number, get a code")
        self.stdout.write("  Messages        .venv/bin/python manage.py simulator_inbox")
        self.stdout.write("  Expiry          .venv/bin/python manage.py expire_notifications")
        self.stdout.write("  What falls due  .venv/bin/python manage.py process_due_orders\n\n")

    def _title(self, text: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"\n{text}"))


def _make_admin() -> None:
    users = get_user_model().objects
    if not users.filter(username=LOGIN).exists():
        users.create_superuser(LOGIN, password=LOGIN)
