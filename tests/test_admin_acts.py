"""The console's buttons: first what will happen to each message, then the deed, once."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instant_notifications import receipts
from instant_notifications.admin import acts
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, Intervention, Shipment, UnmatchedReceipt
from tests.console import somebody
from tests.outcomes import expire as run_out
from tests.outcomes import fails, meanwhile
from tests.stub import StubGateway, take
from tests.test_interventions import PHONE, an_sms, in_doubt, refused, unsent

pytestmark = pytest.mark.django_db

Stub = type[StubGateway]

ABLE = ("view_shipment", "resend_shipment", "end_shipment")
ABLE += ("view_unmatchedreceipt", "match_unmatchedreceipt")


def at(view: str, *args: object, model: str = "shipment") -> str:
    return reverse(f"admin:instant_notifications_{model}_{view}", args=args)


@pytest.fixture
def operator(stub: Stub) -> Client:
    return somebody(*ABLE, name="kari")


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def tokens(answer: Any) -> list[str]:
    return re.findall(r'name="delivery" value="([^"]+)"', answer.content.decode())


def review(client: Client, act: str, *deliveries: Delivery) -> Any:
    """What the list answers when these are ticked."""
    ticked = [str(each.shipment_id) for each in deliveries]
    return client.post(at("changelist"), {"action": act, "_selected_action": ticked})


def do(client: Client, act: str, shown: Any, **form: Any) -> Any:
    form = {"because": "the phone was off", "delivery": shown and tokens(shown), **form}
    return client.post(at(act), form)


def test_each_is_told_what_will_happen_to_it(operator: Client, stub: Stub) -> None:
    failed, doubtful, erased = refused(stub), in_doubt(stub), refused(stub)
    Delivery.objects.filter(pk=erased.pk).update(content=None)
    shown = review(operator, "resend", failed, doubtful, erased)
    text = text_of(shown)
    assert "It has failed. A new message is made of it." in text
    assert "Only if you are sure. Nobody knows whether it was sent" in text
    assert "Nothing. Its text or its recipient is not kept, or cannot be read." in text
    assert tokens(shown) == [f"{failed.pk} 0", f"{doubtful.pk} 0 if sure"]
    assert 'name="sure"' in shown.content.decode()
    assert PHONE[-8:] not in shown.content.decode()
    assert len(stub.seen) == 3
    assert not Intervention.objects.exists()


def test_the_failed_are_sent_again_and_the_doubtful_only_if_somebody_is_sure(
    operator: Client, stub: Stub
) -> None:
    shown = review(operator, "resend", refused(stub), in_doubt(stub))
    stub.do = take
    text = text_of(do(operator, "resend", shown))
    assert "Sent again." in text
    assert "Nobody knows whether it was sent" in text
    assert len(stub.seen) == 3
    text = text_of(do(operator, "resend", shown, sure="on"))
    assert "It was sent again already." in text
    assert text.count("Sent again.") == 1
    assert len(stub.seen) == 4
    assert set(Intervention.objects.values_list("by", flat=True)) == {"kari"}


def test_a_second_press_sends_nothing(operator: Client, stub: Stub) -> None:
    shown = review(operator, "resend", refused(stub))
    first, second = (do(operator, "resend", shown).content.decode() for _ in range(2))
    new = str(Shipment.objects.latest("pk").pk)
    assert new in first
    assert new in second
    assert len(stub.seen) == 2


def test_it_is_logged_without_anything_personal(operator: Client, stub: Stub) -> None:
    original = refused(stub)
    do(operator, "resend", review(operator, "resend", original))
    made = Shipment.objects.latest("pk")
    entry = LogEntry.objects.get()
    assert entry.object_id == str(original.shipment_id)
    assert entry.get_change_message() == f"Sent again as {made.pk}: the phone was off"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Rejected, "A new message was made, but it was refused."),
        (Unavailable, "No gateway could take it now"),
        (OutcomeUnknown, "nobody knows whether it was sent"),
    ],
)
def test_a_resend_that_fails_is_told_and_linked(
    kind: Any, told: str, operator: Client, stub: Stub
) -> None:
    shown = review(operator, "resend", refused(stub))
    stub.do = fails(kind, "x")
    answer = do(operator, "resend", shown)
    assert told in text_of(answer)
    assert str(Shipment.objects.latest("pk").pk) in answer.content.decode()
    assert "without success" in LogEntry.objects.get().get_change_message()


def test_without_a_route_it_says_what_is_missing(
    operator: Client, stub: Stub, configure: Any
) -> None:
    shown = review(operator, "resend", refused(stub))
    configure(ROUTES={"sms": [], "email": []})
    assert "No gateway carries sms yet." in text_of(do(operator, "resend", shown))


def test_without_a_reason_nothing_happens(operator: Client, stub: Stub) -> None:
    shown = review(operator, "resend", refused(stub))
    answer = do(operator, "resend", shown, because=" ")
    assert "Say why" in text_of(answer)
    assert tokens(answer) == tokens(shown)
    assert len(stub.seen) == 1


def test_a_button_of_the_story_leads_to_the_same_page(operator: Client, stub: Stub) -> None:
    original = refused(stub)
    answer = operator.post(at("resend-review"), {"shipment": str(original.shipment_id)})
    assert tokens(answer) == [f"{original.pk} 0"]


def test_one_page_takes_only_so_long_and_goes_on_where_it_stopped(
    operator: Client, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = review(operator, "resend", *[refused(stub) for _ in range(3)])
    times = iter([0, 1, acts.PATIENCE + 1])
    stub.do = take
    with monkeypatch.context() as patch:
        patch.setattr(acts, "monotonic", lambda: next(times))
        first = do(operator, "resend", shown)
    assert "2 are not begun yet" in text_of(first)
    assert tokens(first) == tokens(shown)[1:]
    assert text_of(do(operator, "resend", first)).count("Sent again.") == 2
    assert len(stub.seen) == 6


def test_cancelled_and_expired(operator: Client, stub: Stub) -> None:
    shown = review(operator, "cancel", unsent(stub), in_doubt(stub))
    assert "nobody can call it back" in text_of(shown)
    assert "Cancelled: it will not be sent." in text_of(do(operator, "cancel", shown))
    run_out(seconds_ago=61)
    shown = review(operator, "expire", *Delivery.objects.all())
    assert "Written down as expired." in text_of(do(operator, "expire", shown))
    kinds = Intervention.objects.order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["cancel", "expire"]


def test_what_has_changed_since_the_page_was_shown_is_judged_anew(
    operator: Client, stub: Stub
) -> None:
    original = refused(stub)
    shown = review(operator, "resend", original)
    Delivery.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "Its time has run out" in text_of(do(operator, "resend", shown))
    assert len(stub.seen) == 1


@pytest.mark.parametrize(
    "token", ["", "x", "x 0", "01990000-0000-7000-8000-000000000000 0", " ", "\0", "🦊 1", "a b c"]
)
def test_a_forged_form_does_nothing(token: str, operator: Client, stub: Stub) -> None:
    refused(stub)
    answer = do(operator, "resend", None, delivery=[token])
    assert "There is nothing to do it to." in text_of(answer)
    assert "nothing to do it to" in text_of(operator.post(at("resend-review"), {"shipment": token}))
    assert not Intervention.objects.exists()


def test_a_forged_choice_in_the_list_does_nothing(operator: Client, stub: Stub) -> None:
    form = {"action": "resend", "_selected_action": ["x", str(refused(stub).shipment_id)]}
    assert operator.post(at("changelist"), form).status_code == 302


def test_a_huge_number_of_resends_seen_is_no_way_around(operator: Client, stub: Stub) -> None:
    original = refused(stub)
    stub.do = take
    do(operator, "resend", None, delivery=[f"{original.pk} 0"])
    text = text_of(do(operator, "resend", None, delivery=[f"{original.pk} {999_999}"]))
    assert "It has been sent again before" in text
    assert len(stub.seen) == 2


def test_who_may_not_sees_no_button_and_is_refused(operator: Client, stub: Stub) -> None:
    original = refused(stub)
    shown = review(operator, "resend", original)
    User.objects.get().user_permissions.set(Permission.objects.filter(codename="view_shipment"))
    assert 'value="resend"' not in operator.get(at("changelist")).content.decode()
    for act in acts.ACTS:
        assert do(operator, act.name, shown).status_code == 403
        assert operator.post(at(f"{act.name}-review")).status_code == 403
        review(operator, act.name, original)
    assert len(stub.seen) == 1


def test_nothing_is_done_by_a_look(operator: Client, stub: Stub) -> None:
    for act in acts.ACTS:
        assert operator.get(at(act.name)).status_code == 405
        assert operator.get(at(f"{act.name}-review")).status_code == 405


def test_the_page_costs_the_same_for_many(operator: Client, stub: Stub) -> None:
    def statements(number: int) -> int:
        deliveries = [refused(stub) for _ in range(number)]
        with CaptureQueriesContext(connection) as queries:
            assert len(tokens(review(operator, "resend", *deliveries))) == number
        return len(queries)

    statements(1)
    assert statements(2) == statements(9)


def test_a_host_that_wraps_each_request_in_a_transaction_sends_all_the_same(
    operator: Client, stub: Stub
) -> None:
    shown = review(operator, "resend", refused(stub))
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        stub.do = meanwhile(lambda: seen.append(len(connection.savepoint_ids)))
        seen: list[int] = []
        assert "Sent again." in text_of(do(operator, "resend", shown))
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert seen == [0]


def a_kept_receipt() -> UnmatchedReceipt:
    word = {"status": "SMS_Delivered", "word": "DELIVRD"}
    receipts.record_receipt("stub", Receipt(gateway_reference="g-17", **word))
    return UnmatchedReceipt.objects.get()


def test_a_receipt_finds_its_message_by_hand(operator: Client, stub: Stub) -> None:
    delivery, kept = in_doubt(stub), a_kept_receipt()
    page = at("match", kept.pk, model="unmatchedreceipt")
    assert page in operator.get(at("changelist", model="unmatchedreceipt")).content.decode()
    assert "DELIVRD" in text_of(operator.get(page))
    found = operator.post(page, {"term": PHONE})
    assert str(delivery.pk) in found.content.decode()
    assert "may be about this message" in text_of(found)
    deed = at("matched", kept.pk, model="unmatchedreceipt")
    answer = operator.post(deed, {"delivery": delivery.pk, "because": "same minute"})
    assert answer.headers["Location"] == at("change", delivery.shipment_id)
    assert Delivery.objects.get().status == "SMS_Delivered"
    told = LogEntry.objects.get().get_change_message()
    assert told == f"Receipt {kept.pk} matched with {delivery.pk}: same minute"
    assert operator.get(page).headers["Location"] == at("changelist", model="unmatchedreceipt")


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"because": "x"}, "Choose a message"),
        ({"because": "x", "delivery": "x"}, "Choose a message"),
        ({"delivery": "01990000-0000-7000-8000-000000000000"}, "Choose a message"),
        (
            {"because": "x", "delivery": "01990000-0000-7000-8000-000000000000"},
            "There is no such message.",
        ),
    ],
)
def test_a_match_that_makes_no_sense_is_refused(
    form: dict[str, str], complaint: str, operator: Client, stub: Stub
) -> None:
    kept = a_kept_receipt()
    deed = at("matched", kept.pk, model="unmatchedreceipt")
    assert complaint in text_of(operator.post(deed, form, follow=True))
    assert UnmatchedReceipt.objects.count() == 1


def test_a_match_that_must_not_be_is_refused_with_the_reason(operator: Client, stub: Stub) -> None:
    delivery, kept = an_sms(), a_kept_receipt()
    deed = at("matched", kept.pk, model="unmatchedreceipt")
    form = {"delivery": delivery.pk, "because": "x"}
    refusal = text_of(operator.post(deed, form, follow=True))
    assert "The gateway knows the message by another reference." in refusal
    assert UnmatchedReceipt.objects.exists()
    operator.post(deed, {**form, "sure": "on"})
    assert not UnmatchedReceipt.objects.exists()


def test_auditors_see_who_has_stepped_in(operator: Client, stub: Stub) -> None:
    original = refused(stub)
    do(operator, "resend", review(operator, "resend", original))
    page = at("changelist", model="intervention")
    assert operator.get(page).status_code == 403
    able = Permission.objects.filter(codename__in=["view_intervention"])
    User.objects.get().user_permissions.set(able)
    html = operator.get(page).content.decode()
    shipments = map(str, Shipment.objects.values_list("pk", flat=True))
    assert all(told in html for told in ("kari", "the phone was off", *shipments))
