"""The guard, under attack: what gets through, what does not, and what is told of it."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import phonenumbers
import pytest
from django.db import OperationalError
from phonenumbers import PhoneNumberType

from instant_notifications import guard, otp, upkeep
from instant_notifications.checks import check_deployment
from instant_notifications.exceptions import Blocked, InvalidMessage, TooManyRequests, Unavailable
from instant_notifications.guard import holds, limits, lists, refusals
from instant_notifications.models import Allowance, Hold, ListEntry, Refusals, VerifiedShare
from instant_notifications.otp.models import Challenge
from instant_notifications.rules import REGION
from tests.clock import Clock
from tests.outcomes import fails
from tests.stub import StubGateway
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Stub = type[StubGateway]
PHONE = "+4799999999"


def numbers(many: int, first: int = 0) -> list[str]:
    """All different, in one prefix."""
    return [f"+479999{each:04}" for each in range(first, first + many)]


def ask(recipient: str = PHONE, **more: Any) -> Challenge:
    return otp.issue(recipient, **{"purpose": "login", **more})


def outcome(call: Callable[[], Any]) -> str:
    """What came of it, in a word."""
    try:
        call()
    except TooManyRequests as refusal:
        return refusal.limit
    except Blocked as refusal:
        return refusal.reason
    return "sent"


def take(limit: str = "creator", subject: str = "ttd") -> None:
    limits.take(limits.toll_of({limit: subject}))


def counts() -> Mapping[str, int]:
    return refusals.refusals_since(datetime(2000, 1, 1, tzinfo=UTC))


def test_a_limit_lets_a_burst_through_and_is_refilled_evenly(
    configure: Configure, clock: Clock
) -> None:
    configure(LIMITS={"creator": (3, 60)})
    assert [outcome(take) for _ in range(5)] == ["sent"] * 3 + ["creator"] * 2
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refusal:
            take()
        assert refusal.value.retry_after == 20
        clock.go(timedelta(seconds=20))
        take()
    clock.go(timedelta(days=1))
    assert [outcome(take) for _ in range(4)] == ["sent"] * 3 + ["creator"]


def test_a_bucket_that_somebody_makes_at_the_same_moment_is_not_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The row is not there to be moved, and is there when it is looked at."""
    (charge,) = limits.toll_of({"creator": "ttd"})
    move = limits._move

    def too_early(charge: limits.Charge) -> int:
        monkeypatch.setattr(limits, "_move", move)
        moved = move(charge)
        limits.take([charge])
        return moved

    monkeypatch.setattr(limits, "_move", too_early)
    limits.take([charge])
    assert not limits._wait(charge, Allowance.objects.get().full_at) > 0


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(seconds=100), timedelta(days=1)])
def test_a_clock_that_is_set_back_shuts_nobody_out_for_long(
    back: timedelta, configure: Configure, clock: Clock
) -> None:
    configure(LIMITS={"creator": (3, 60)})
    assert [outcome(take) for _ in range(4)] == ["sent"] * 3 + ["creator"]
    clock.go(-back)
    is_far = back > timedelta(seconds=2 * 60 + limits.CLOCKS_DIFFER)
    assert [outcome(take) for _ in range(4)] == ["sent" if is_far else "creator"] * 3 + ["creator"]
    clock.go(timedelta(seconds=2 * 60 + limits.CLOCKS_DIFFER))
    assert outcome(take) == "sent"


def test_each_subject_and_each_limit_has_a_bucket_of_its_own(configure: Configure) -> None:
    configure(LIMITS={"creator": (1, 60), "recipient": (1, 60)})
    take()
    take(subject="skd")
    take("recipient")
    assert outcome(take) == "creator"


def test_limits_left_out_stay_and_none_switches_one_off(configure: Configure) -> None:
    configure(LIMITS={"creator": None, "prefix": [1, 60]})
    assert limits.limits()["country"] == (3000, 600)
    assert limits.toll_of({"creator": "ttd"}) == []
    (charge,) = limits.toll_of({"prefix": "+479999"})
    assert (charge.most, charge.seconds) == (1, 60)


def test_nobody_can_read_who_was_counted(stub: Stub) -> None:
    ask(address="192.0.2.7")
    rows = list(Allowance.objects.values_list("key", flat=True))
    assert len(rows) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in rows)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [False, True])
def test_of_many_at_once_as_many_get_through_as_there_is_room_for(
    is_known: bool, configure: Configure
) -> None:
    configure(LIMITS={"creator": (8, 3600)})
    if is_known:
        take()
    results = at_once(*[lambda: outcome(take)] * 20)
    assert results.count("sent") == 8 - is_known


@pytest.mark.django_db(transaction=True)
def test_many_codes_at_once_keep_to_the_limit_that_they_share(
    configure: Configure, stub: Stub
) -> None:
    configure(LIMITS={"prefix": (3, 3600), "address": (9, 3600)})

    def call(number: str) -> Callable[[], str]:
        return lambda: outcome(lambda: ask(number, address=f"192.0.2.{number[-1]}"))

    results = at_once(*map(call, numbers(10)))
    assert sorted(results) == ["prefix"] * 7 + ["sent"] * 3
    assert len(stub.seen) == Challenge.objects.count() == 3
    assert counts() == {"prefix": 7}


def test_a_refused_code_is_charged_nothing(configure: Configure, stub: Stub) -> None:
    configure(LIMITS={"prefix": (1, 3600), "country": (3, 3600)})
    assert [outcome(lambda n=n: ask(n)) for n in numbers(3)] == ["sent", "prefix", "prefix"]
    elsewhere = ("+4790000000", "+4791000000", "+4792000000")
    assert [outcome(lambda n=n: ask(n)) for n in elsewhere] == ["sent", "sent", "country"]


def test_a_code_that_comes_too_early_is_charged_nothing(configure: Configure, stub: Stub) -> None:
    configure(LIMITS={"prefix": (2, 3600)})
    results = [outcome(ask) for _ in range(4)]
    assert results == ["sent"] + ["OTP_RESEND_PAUSE"] * 3
    assert [outcome(lambda n=n: ask(n)) for n in numbers(2)] == ["sent", "prefix"]


def test_numbers_that_rotate_in_one_prefix_share_a_limit(configure: Configure, stub: Stub) -> None:
    configure(LIMITS={"prefix": (5, 3600)})
    results = [outcome(lambda n=n: ask(n)) for n in numbers(20)]
    assert results == ["sent"] * 5 + ["prefix"] * 15
    assert outcome(lambda: ask("+4799980000")) == "sent"


def test_resends_from_one_address_share_a_limit(
    configure: Configure, stub: Stub, clock: Clock
) -> None:
    configure(LIMITS={"address": (4, 24 * 3600)})
    firsts = [ask(n, address="192.0.2.7") for n in numbers(3)]
    clock.go(timedelta(seconds=30))
    results = [
        outcome(lambda f=f: otp.resend(f.pk, purpose="login", address="192.0.2.7")) for f in firsts
    ]
    assert results == ["sent", "address", "address"]
    assert outcome(lambda: otp.resend(firsts[1].pk, purpose="login", address="::1")) == "sent"


@pytest.mark.parametrize(
    ("addresses", "are_one"),
    [
        (["2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"], True),
        (["2001:db8::1", "2001:0DB8:0:0::2"], True),
        (["2001:db8::1", "2001:db8:0:1::1"], False),
        (["192.0.2.7", "::ffff:192.0.2.7"], True),
        (["192.0.2.7", "192.0.2.8"], False),
        (["fe80::1%eth0", "fe80::2%eth1"], True),
        (["192.0.2.7:5001", "unix:"], True),
        (["192.0.2.7, 198.51.100.1", "192.0.2.7, 198.51.100.2"], True),
    ],
)
def test_who_hops_within_a_network_is_one(
    addresses: list[str], are_one: bool, configure: Configure, stub: Stub
) -> None:
    configure(LIMITS={"address": (1, 3600)})
    results = [
        outcome(lambda n=n, a=a: ask(n, address=a))
        for n, a in zip(numbers(2), addresses, strict=True)
    ]
    assert results == ["sent", "address" if are_one else "sent"]


def test_codes_of_many_organisations_share_the_limits_of_a_prefix(
    configure: Configure, stub: Stub
) -> None:
    configure(LIMITS={"prefix": (2, 3600)})
    results = [
        outcome(lambda n=n, c=c: ask(n, creator=f"org-{c}")) for c, n in enumerate(numbers(5))
    ]
    assert results == ["sent"] * 2 + ["prefix"] * 3


def test_a_mail_has_neither_prefix_nor_country(configure: Configure, stub: Stub) -> None:
    configure(LIMITS={"prefix": (1, 60), "country": (1, 60)}, OTP_COUNTRIES=["SE"])
    for name in ("kari", "ola", "+47kari"):
        assert outcome(lambda n=name: ask(f"{n}@example.com", channel="email")) == "sent"
    assert not VerifiedShare.objects.exists()


@pytest.mark.parametrize(
    ("setting", "region", "goes"),
    [
        (None, None, {"+4799999999", "+46701234567"}),
        (None, "NO", {"+4799999999"}),
        (["SE"], "NO", {"+46701234567"}),
        ([], "NO", set()),
    ],
)
def test_codes_go_to_the_countries_that_are_allowed(
    setting: Any, region: Any, goes: set[str], configure: Configure, settings: Any, stub: Stub
) -> None:
    configure(OTP_COUNTRIES=setting)
    settings.PHONENUMBER_DEFAULT_REGION = region
    for number in ("+4799999999", "+46701234567"):
        if number in goes:
            ask(number)
            continue
        with pytest.raises(InvalidMessage) as refusal:
            ask(number)
        assert refusal.value.errors == {"recipient": [REGION]}
    assert counts().get(refusals.COUNTRY_NOT_ALLOWED, 0) == 2 - len(goes)


def test_a_project_that_sends_codes_everywhere_is_warned(
    configure: Configure, settings: Any
) -> None:
    def is_warned() -> bool:
        return any(str(each.id).endswith("W011") for each in check_deployment(None))

    assert is_warned()
    settings.PHONENUMBER_DEFAULT_REGION = "NO"
    assert not is_warned()
    settings.PHONENUMBER_DEFAULT_REGION = None
    assert is_warned()
    configure(OTP_COUNTRIES=["NO"])
    assert not is_warned()
    configure(OTP_COUNTRIES=None)
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "otp" not in each]
    assert not is_warned()


COSTLY = [
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.VOIP,
    PhoneNumberType.PERSONAL_NUMBER,
    PhoneNumberType.PAGER,
    PhoneNumberType.UAN,
    PhoneNumberType.VOICEMAIL,
]


@pytest.mark.parametrize("kind", COSTLY)
def test_costly_numbers_get_no_codes_anywhere(kind: int, stub: Stub) -> None:
    found = 0
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None or phonenumbers.number_type(example) != kind:
            continue
        found += 1
        with pytest.raises(InvalidMessage):
            ask(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    assert found
    assert stub.seen == []


def send_many(many: int, clock: Clock, first: int = 0) -> list[str]:
    """Codes that nobody verifies, over more time than it takes to type one."""
    results = []
    for number in numbers(many, first):
        results.append(outcome(lambda n=number: ask(n)))
        clock.go(timedelta(seconds=10))
    return results


def test_a_prefix_whose_codes_nobody_verifies_is_held(
    configure: Configure, stub: Stub, clock: Clock
) -> None:
    configure(OTP_HOLD="block")
    assert send_many(40, clock) == ["sent"] * 32 + ["held"] * 8  # suspected at the 20th
    held = Hold.objects.get()
    assert (held.subject, held.sent, held.verified) == ("+479999", 32, 0)
    assert outcome(lambda: ask("+4799980000")) == "sent"
    assert counts() == {"held": 8}


def test_a_warning_stops_nothing(configure: Configure, stub: Stub, clock: Clock) -> None:
    assert set(send_many(40, clock)) == {"sent"}
    assert Hold.objects.get().sent == 32


def test_switched_off_it_does_not_look(configure: Configure, stub: Stub, clock: Clock) -> None:
    configure(OTP_HOLD="off")
    send_many(25, clock)
    assert not Hold.objects.exists()
    assert not VerifiedShare.objects.exists()


def test_codes_that_are_verified_are_above_suspicion(stub: Stub, clock: Clock) -> None:
    for number in numbers(30):
        challenge = ask(number)
        if number.endswith("0"):
            code = re.findall(r"\d{6}", stub.seen[-1].body)[0]
            assert otp.verify(challenge.pk, code, purpose="login").verified
        clock.go(timedelta(seconds=10))
    assert not Hold.objects.exists()
    assert VerifiedShare.objects.get(pk="+479999").verified == 3


def test_a_burst_is_given_time_to_be_typed(stub: Stub, clock: Clock) -> None:
    """Also where the window began long before it."""
    guard.note_sent(PHONE)
    clock.go(timedelta(minutes=10))
    issued = [ask(number) for number in numbers(25)]
    assert not Hold.objects.exists()
    codes = [re.findall(r"\d{6}", message.body)[0] for message in stub.seen]
    for challenge, code in zip(issued, codes, strict=True):
        assert otp.verify(challenge.pk, code, purpose="login")
    clock.go(timedelta(minutes=4))
    for number in numbers(2, 500):
        ask(number)
    assert not Hold.objects.exists()


def test_codes_of_long_ago_are_forgotten(stub: Stub, clock: Clock) -> None:
    send_many(15, clock)
    clock.go(holds.WINDOW)
    send_many(15, clock, 1000)
    assert not Hold.objects.exists()
    assert VerifiedShare.objects.get(pk="NO").sent == 15


def test_codes_that_did_not_leave_count_for_nothing(stub: Stub) -> None:
    stub.do = fails(Unavailable, "x")
    with pytest.raises(Unavailable):
        ask()
    assert not VerifiedShare.objects.exists()


def test_a_country_is_held_likewise(
    configure: Configure, stub: Stub, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(OTP_HOLD="block")
    monkeypatch.setattr(holds, "OF_A_COUNTRY", 15)
    send_many(27, clock)
    assert Hold.objects.get().subject == "NO"
    assert outcome(lambda: ask("+4790000000")) == "held"
    assert outcome(lambda: ask("+46701234567")) == "sent"


def test_what_was_released_is_not_held_again_for_a_day(
    configure: Configure, stub: Stub, clock: Clock
) -> None:
    configure(OTP_HOLD="block", LIMITS={"prefix": None})
    send_many(32, clock)
    held = Hold.objects.get()
    assert holds.release(held.pk, by="ola", because="a concert")
    assert holds.release(held.pk, by="kari", because="late") is None
    assert set(send_many(40, clock, 1000)) == {"sent"}
    clock.go(timedelta(days=1))
    send_many(40, clock, 2000)
    assert Hold.objects.get(released_at=None).released_by == ""


@pytest.mark.django_db(transaction=True)
def test_shares_are_right_however_many_write_at_once() -> None:
    at_once(*[lambda: guard.note_sent(PHONE)] * 10, *[lambda: guard.note_verified(PHONE)] * 5)
    rows = VerifiedShare.objects.order_by("pk").values_list("pk", "sent", "verified")
    assert list(rows) == [("+479999", 10, 5), ("NO", 10, 5)]


def add(verdict: str, kind: str, subject: str, **more: Any) -> ListEntry:
    return lists.add(verdict, kind, subject, **{"by": "ola", "because": "x", **more})


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("recipient", "+47 99 99 99 99"),
        ("prefix", "+47 999"),
        ("prefix", "0047"),
        ("country", "no"),
        ("address", "192.0.2.7"),
        ("address", "192.0.2.9/24"),
        ("address", "0.0.0.0/0"),
    ],
)
def test_who_is_on_the_block_list_gets_nothing(kind: str, subject: str, stub: Stub) -> None:
    entry = add("block", kind, subject)
    assert outcome(lambda: ask(address="192.0.2.7")) == "listed"
    assert not Challenge.objects.exists()
    assert outcome(lambda: ask("+46701234567", address="2001:db8::1")) == "sent"
    assert lists.remove(entry.pk)
    assert outcome(lambda: ask(address="192.0.2.7")) == "sent"
    assert counts() == {"listed": 1}


def test_a_mail_address_and_an_ipv6_range_can_be_blocked(stub: Stub) -> None:
    add("block", "recipient", "kari@example.com")
    add("block", "address", "2001:db8::/32")
    mail = "Kari@example.com"
    assert outcome(lambda: ask(mail, channel="email")) == "listed"
    assert outcome(lambda: ask(address="2001:db8:ffff::1")) == "listed"
    assert outcome(lambda: ask(address="2001:db9::1")) == "sent"


def test_the_list_shows_a_number_only_masked() -> None:
    add("block", "recipient", PHONE)
    kept = ListEntry.objects.values().get()
    assert kept["shown"] == "+47 ** ** ** 99"
    assert "999999" not in str({**kept, "key": ""})


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("recipient", "12345"),
        ("recipient", "@example.com"),
        ("prefix", "47999"),
        ("prefix", "+"),
        ("prefix", "+47x"),
        ("prefix", "+" + "1" * 16),
        ("prefix", "+\u0661\u0662"),
        ("country", "Norway"),
        ("address", "example.com"),
        ("address", "192.0.2.0/33"),
    ],
)
def test_what_is_not_of_its_kind_is_not_listed(kind: str, subject: str) -> None:
    with pytest.raises(ValueError):
        add("block", kind, subject)
    assert not ListEntry.objects.exists()


def test_allowed_is_stronger_than_holds_and_limits_and_blocked_than_allowed(
    configure: Configure, stub: Stub, clock: Clock
) -> None:
    configure(OTP_HOLD="block", LIMITS={"country": (1, 24 * 3600)})
    Hold.objects.create(subject="+479999", sent=20, verified=0)
    assert outcome(ask) == "held"
    add("allow", "recipient", PHONE)
    sent = 0
    while outcome(ask) == "sent":
        sent += 1
        clock.go(timedelta(seconds=480))
    assert sent == 5  # an hour's worth stays as it is
    assert counts()["OTP_SENDS_PER_HOUR"] == 1
    add("block", "country", "NO")
    assert outcome(ask) == "listed"


def test_an_entry_ends(stub: Stub, clock: Clock) -> None:
    add("block", "country", "NO", until=clock.now + timedelta(days=1))
    assert outcome(ask) == "listed"
    clock.go(timedelta(days=1))
    assert outcome(ask) == "sent"


def test_an_entry_outlives_the_change_of_keys(stub: Stub, configure: Configure) -> None:
    add("block", "recipient", PHONE)
    configure(ENCRYPTION_KEYS=["a new secret, long and random"])
    assert outcome(ask) == "listed"


def test_an_entry_is_replaced_by_a_newer_word_on_the_same_subject(stub: Stub) -> None:
    add("block", "prefix", "+47999")
    add("allow", "prefix", "0047 999")
    assert ListEntry.objects.get().verdict == "allow"
    assert outcome(ask) == "sent"


def test_refusals_are_counted_by_five_minutes(clock: Clock) -> None:
    for _ in range(3):
        refusals.count("held")
    clock.go(timedelta(minutes=10))
    refusals.count("listed")
    assert refusals.refusals_since(clock.now - timedelta(hours=1)) == {"held": 3, "listed": 1}
    assert refusals.refusals_since(clock.now) == {"listed": 1}
    assert Refusals.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_refusals_are_counted_right_at_once() -> None:
    at_once(*[lambda: refusals.count("held")] * 20)
    assert sum(counts().values()) == 20


def test_a_count_that_fails_does_not_hide_the_refusal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(reason: str) -> None:
        raise OperationalError("gone: +4799999999")

    monkeypatch.setattr(refusals, "_count", away)
    with pytest.raises(Blocked), guard.counted():
        raise Blocked("held")
    assert "refusal not counted" in caplog.text
    assert PHONE not in caplog.text


def test_what_is_of_no_use_any_more_is_deleted(
    configure: Configure, stub: Stub, clock: Clock, tiny_batches: None
) -> None:
    configure(LIMITS={"recipient": (10, 3600)})
    for number in numbers(3):
        ask(number)
    refusals.count("held")
    Hold.objects.create(subject="SE", sent=200, verified=0, released_at=clock.now)
    Hold.objects.create(subject="DK", sent=200, verified=0)
    add("block", "country", "FI", until=clock.now)
    add("block", "country", "IS")

    def purge() -> None:
        for _ in upkeep.run(upkeep.GUARD, upkeep.Stop()):
            pass

    purge()
    assert Allowance.objects.count() == 5
    assert VerifiedShare.objects.count() == 2
    clock.go(timedelta(days=100))
    purge()
    for gone in (Allowance, VerifiedShare, Refusals):
        assert not gone.objects.exists(), gone
    assert Hold.objects.get().subject == "DK"
    assert ListEntry.objects.get().shown == "IS"


@pytest.mark.django_db(transaction=True)
def test_a_purge_meanwhile_loses_no_count(configure: Configure, clock: Clock) -> None:
    configure(LIMITS={"creator": (8, 3600)})
    take()
    clock.go(timedelta(hours=2))

    def purge() -> str:
        for _ in upkeep.run(upkeep.GUARD, upkeep.Stop()):
            pass
        return "purged"

    results = at_once(*[lambda: outcome(take), purge] * 10)
    assert results.count("sent") == 8
