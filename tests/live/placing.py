"""Orders for workers to do: one with many recipients, and many with one."""

import sys
from collections.abc import Iterator
from typing import Final

from instant_notifications.contacts.local import keep
from instant_notifications.models import ContactEntry
from instant_notifications.orders import place_order
from instant_notifications.orders.regular import Email, Sms
from instant_notifications.recipients import Recipient, mailbox, organisation, phone

CREATOR: Final = "ttd"
IN_A_PROCESS: Final = """
import sys
import django
django.setup()
from tests.live import placing
placing.place(*map(int, sys.argv[1:]))
"""
SMS: Final = Sms("To $recipientNumber$", daytime=False)
EMAIL: Final = Email("To $recipientName$", "Hello $recipientName$")
AGAIN: Final = 5
"""So many recipients are named twice, far from each other."""

FLAKY, REFUSED = 7, 8
"""Of each 500 recipients, one whom the simulator takes only the second time, and one not at all."""

REGISTER: Final = (
    ("EmailAndSms", ["+4794{:06}"], ["a{}@example.com"]),
    ("Email", [], ["a{}@example.com", "b{}@example.com"]),
    ("Email", [], []),
)
"""What is known of every third organisation; of the last nothing at all."""


def place(recipients: int, orders: int) -> None:
    keep(contacts(recipients))
    if recipients:
        placed = place_order(
            one_by_one(recipients), sms=SMS, email=EMAIL, creator=CREATOR, progress=_show
        )
        assert placed.recipients == recipients
    for each in range(orders):
        place_order(phone(f"+4790{101_000 + each}"), sms=SMS, creator=CREATOR)
        _show(recipients + each + 1)


def expected_deliveries(recipients: int, orders: int) -> int:
    each_has = [max(len(_addresses(number)), 1) for number in range(recipients)]
    return sum(each_has) + orders


def expected_refusals(recipients: int) -> int:
    """Those whom the simulator does not take, and those whom nobody knows."""
    unknown = [n for n in range(recipients) if _is_organisation(n) and not _addresses(n)]
    return len(range(REFUSED, recipients, 500)) + len(unknown)


def contacts(recipients: int) -> Iterator[ContactEntry]:
    for number in filter(_is_organisation, range(recipients)):
        if addresses := _addresses(number):
            yield ContactEntry(
                kind="organisation",
                number=_organisation_number(number),
                name=f"Company {number}",
                phone_numbers=[each for each in addresses if "@" not in each],
                email_addresses=[each for each in addresses if "@" in each],
            )


def one_by_one(recipients: int) -> Iterator[Recipient]:
    yield from map(_recipient, range(recipients))
    yield from map(_recipient, range(AGAIN))


def _recipient(number: int) -> Recipient:
    if _is_organisation(number):
        return organisation(_organisation_number(number), _known(number)[0])
    (address,) = _addresses(number)
    return mailbox(address) if "@" in address else phone(address)


def _addresses(number: int) -> list[str]:
    if _is_organisation(number):
        _, phones, mailboxes = _known(number)
        return [each.format(100_000 + number) for each in (*phones, *mailboxes)]
    if number % 500 == FLAKY:
        return [f"+4792{number // 500:02}0003"]
    if number % 500 == REFUSED:
        return [f"+4793{number // 500:02}0001"]
    return [f"r{number}@example.com" if number % 10 > 5 else f"+4791{231_000 + number}"]


def _is_organisation(number: int) -> bool:
    return number % 10 == 9


def _known(number: int) -> tuple[str, list[str], list[str]]:
    return REGISTER[number // 10 % len(REGISTER)]


def _organisation_number(number: int) -> str:
    return str(900_000_000 + number)


def _show(number: int) -> None:
    sys.stdout.write(f"{number}\n")
