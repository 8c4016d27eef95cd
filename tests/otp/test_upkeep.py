"""Whom codes were sent to is forgotten, and never so soon that a limit or a code is."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction

from instant_notifications import otp
from instant_notifications.otp.models import Challenge, Recipient
from instant_notifications.otp.upkeep import CODES
from tests.clock import Clock
from tests.otp.test_challenges import Stub, issued, sent_code, verify
from tests.test_upkeep import with_several_writers, work
from tests.threads import at_once

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def purge() -> dict[str, int]:
    return dict(work(CODES))


def test_a_destination_is_erased_an_hour_after_its_code_is_over(stub: Stub, clock: Clock) -> None:
    challenge = issued()
    clock.go(5 * MINUTE + HOUR)
    assert purge() == {}
    clock.go(timedelta(microseconds=1))
    assert purge() == {"destinations erased": 1}
    assert purge() == {}
    challenge.refresh_from_db()
    assert challenge.destination is None
    assert verify(challenge, sent_code(stub)).reason == otp.Reason.EXPIRED
    with pytest.raises(otp.Unknown):
        otp.resend(challenge.pk, purpose="login")


def test_a_code_that_is_good_stays_good(stub: Stub, clock: Clock) -> None:
    challenge = issued()
    clock.go(4 * MINUTE)
    assert purge() == {}
    assert verify(challenge, sent_code(stub))


def test_codes_go_with_the_destinations_of_messages(
    stub: Stub, clock: Clock, configure: Callable[..., None]
) -> None:
    configure(KEEP_DESTINATIONS=10 * DAY)
    issued()
    clock.go(9 * DAY)
    otp.issue("+4799999998", purpose="login")
    clock.go(DAY + MINUTE)
    assert purge()["codes deleted"] == 1
    assert Challenge.objects.count() == Recipient.objects.count() == 1


def test_limits_outlive_a_short_memory(
    stub: Stub, clock: Clock, configure: Callable[..., None]
) -> None:
    configure(KEEP_DESTINATIONS=timedelta(0), OTP_SENDS_PER_DAY=1)
    issued()
    clock.go(23 * HOUR)
    purge()
    with pytest.raises(otp.TooManyCodes):
        issued()
    clock.go(2 * DAY)
    assert purge() == {"codes deleted": 1, "recipients deleted": 1}


@pytest.mark.usefixtures("tiny_batches")
def test_all_of_it_is_worked_off_in_batches(stub: Stub, clock: Clock) -> None:
    for number in range(10, 15):
        otp.issue(f"+47999999{number}", purpose="login")
    clock.go(100 * DAY)
    issued()
    assert purge() == {"destinations erased": 5, "codes deleted": 5, "recipients deleted": 5}
    assert Challenge.objects.count() == Recipient.objects.count() == 1


@with_several_writers
@pytest.mark.django_db(transaction=True)
def test_a_recipient_somebody_is_sending_to_is_left(stub: Stub) -> None:
    issued()
    Challenge.objects.all().delete()
    with transaction.atomic():
        assert Recipient.objects.select_for_update().get()
        assert at_once(purge) == [{}]
    assert purge() == {"recipients deleted": 1}


def test_the_command_tells_what_it_has_done(stub: Stub, clock: Clock) -> None:
    issued()
    clock.go(2 * HOUR)
    told = StringIO()
    call_command("purge_codes", "--dry-run", stdout=told)
    call_command("purge_codes", stdout=told)
    assert told.getvalue().splitlines() == [
        "To do: 1 destinations erased, 0 codes deleted, 0 recipients deleted, 0 failed",
        "1 destinations erased, 0 codes deleted, 0 recipients deleted, 0 failed",
    ]
