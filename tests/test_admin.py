import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instant_notifications.exceptions import OutcomeUnknown
from instant_notifications.gateways import Receipt
from instant_notifications.models import Shipment, UnmatchedReceipt
from instant_notifications.orders import Sent, send_email, send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.simulator.postman import deliver_due_receipts
from tests.console import somebody
from tests.outcomes import expire, fails

Configure = Callable[..., None]

PHONE = "+4799887766"
ADDRESS = "kari.nordmann@example.com"
BODY = "Your code is 428516"
SUBJECT = "A word for you"
SECRETS = ("99887766", "9988", "kari.nordmann", "428516", SUBJECT)

LIST = reverse("admin:instant_notifications_shipment_changelist")
SEARCH = reverse("admin:instant_notifications_shipment_search")
ADD = reverse("admin:instant_notifications_shipment_add")

pytestmark = pytest.mark.django_db


def page_of(shipment_id: object, page: str = "change") -> str:
    return reverse(f"admin:instant_notifications_shipment_{page}", args=[shipment_id])


def an_sms(**more: Any) -> Sent:
    return send_sms(PHONE, BODY, **more)


def an_email(**more: Any) -> Sent:
    return send_email(ADDRESS, SUBJECT, BODY, **more)


def rows(html: str) -> list[str]:
    """The ids in the first column of the list."""
    return re.findall(r'<th class="field-id"[^>]*><a [^>]*>([0-9a-f-]{36})</a>', html)


def queries_of(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


def test_receipts_without_a_message_can_be_looked_at_but_not_touched(console: Client) -> None:
    record_receipt("link", Receipt(gateway_reference="nobodys-17", word="DELIVRD"))
    page = reverse("admin:instant_notifications_unmatchedreceipt_changelist")
    answer = console.get(page)
    assert "nobodys-17" in answer.content.decode()
    assert "DELIVRD" in answer.content.decode()
    assert "?o=" not in answer.content.decode()  # there may be many, and few columns have an index
    add = reverse("admin:instant_notifications_unmatchedreceipt_add")
    assert console.post(add, {}).status_code == 403
    kept = UnmatchedReceipt.objects.get()
    console.post(page, {"action": "delete_selected", "_selected_action": kept.pk, "post": "yes"})
    assert UnmatchedReceipt.objects.count() == 1


@pytest.fixture
def console(admin_client: Client) -> Client:
    return admin_client


@pytest.fixture
def viewer() -> Client:
    return somebody("view_shipment")


def test_the_list_shows_the_newest_first(console: Client) -> None:
    first, second = an_sms(), an_email()
    html = console.get(LIST).content.decode()
    assert rows(html) == [str(second.shipment_id), str(first.shipment_id)]
    assert "+47 ** ** ** 66 SMS_Accepted" in html
    assert "k***@example.com Email_Succeeded" in html


def test_a_shipment_shows_its_delivery_and_history(console: Client) -> None:
    sent = an_sms(senders_reference="ref-1")
    deliver_due_receipts()
    html = console.get(page_of(sent.shipment_id)).content.decode()
    for shown in ("+47 ** ** ** 66", "SMS_Delivered", "Order_Completed", "ref-1", "local"):
        assert shown in html
    told = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert re.search(r"simulator took it\. OK \d[.\d]* s SMS_Accepted", told)
    assert "A receipt came from simulator. delivered SMS_Delivered" in told


def test_an_organisation_without_shipments_has_an_empty_list(console: Client) -> None:
    assert rows(console.get(LIST).content.decode()) == []


@pytest.mark.parametrize("send", [an_sms, an_email])
def test_no_page_shows_a_destination_or_a_content(
    send: Callable[[], Sent], console: Client
) -> None:
    sent = send()
    for url in (LIST, page_of(sent.shipment_id), page_of(sent.shipment_id, "history")):
        html = console.get(url).content.decode()
        assert str(sent.shipment_id) in html
        assert not [secret for secret in SECRETS if secret in html]


def test_an_unknown_outcome_is_shown_with_what_is_known(console: Client, stub: Any) -> None:
    stub.do = fails(OutcomeUnknown, "no answer in time")
    with pytest.raises(OutcomeUnknown):
        an_sms()
    html = console.get(page_of(Shipment.objects.get().pk)).content.decode()
    assert "unknown: it may have left" in html
    assert "stub was asked, and gave no clear answer" in html


def test_an_expired_delivery_is_shown_as_expired(console: Client) -> None:
    sent = an_sms()
    expire(seconds_ago=3600)
    for url in (LIST, page_of(sent.shipment_id)):
        html = console.get(url).content.decode()
        assert "SMS_Failed_TTL" in html
        assert "Order_Completed" in html


def test_an_erased_or_unreadable_destination_is_shown_as_such(
    console: Client, configure: Configure
) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    sent = an_sms()
    configure(ENCRYPTION_KEYS=["new"])
    assert "— SMS_Accepted" in console.get(LIST).content.decode()
    assert console.get(page_of(sent.shipment_id)).status_code == 200


def test_a_long_list_takes_no_more_queries_than_a_short_one(console: Client) -> None:
    an_sms()
    queries_of(console, LIST)
    short = queries_of(console, LIST)
    for _ in range(7):
        an_sms()
        an_email()
    deliver_due_receipts()
    assert queries_of(console, LIST) == short


def test_a_page_takes_few_queries(console: Client) -> None:
    sent = an_sms()
    queries_of(console, LIST)
    before = queries_of(console, page_of(sent.shipment_id))
    deliver_due_receipts()
    assert queries_of(console, page_of(sent.shipment_id)) == before
    assert before < 14


def test_the_list_reads_no_contents(console: Client) -> None:
    an_sms()
    with CaptureQueriesContext(connection) as queries:
        console.get(LIST)
    assert not [each for each in queries if '"content"' in each["sql"]]


def test_the_list_does_not_count_the_big_table(console: Client) -> None:
    an_sms()
    with CaptureQueriesContext(connection) as queries:
        console.get(LIST)
    counts = [each["sql"] for each in queries if "COUNT(*)" in each["sql"]]
    assert not [sql for sql in counts if "LIMIT" not in sql]


def found(console: Client, term: str) -> list[str]:
    """The shipments that a search leads to."""
    answer = console.post(SEARCH, {"term": term})
    if answer.status_code == 302:
        return [answer.headers["Location"].split("/")[-3]]
    assert answer.status_code == 200
    return rows(answer.content.decode())


def test_what_has_only_one_meaning_leads_to_its_page(console: Client) -> None:
    an_sms()
    sent = an_sms()
    for written in (str(sent.shipment_id), f" {sent.order_id} ", sent.shipment_id.hex):
        answer = console.post(SEARCH, {"term": written})
        assert answer.headers["Location"] == page_of(sent.shipment_id)


def test_several_are_listed_the_newest_first_and_masked(console: Client) -> None:
    older, newer = an_sms(), an_sms()
    assert found(console, PHONE) == [str(newer.shipment_id), str(older.shipment_id)]
    html = console.post(SEARCH, {"term": PHONE}).content.decode()
    assert "+47 ** ** ** 66 SMS_Accepted" in html
    assert PHONE not in html


@pytest.mark.parametrize(
    "term",
    [
        *("", " ", "nothing", "0", "%", "'", "\0", "\N{SEE-NO-EVIL MONKEY}", "a" * 5000, "+", "@"),
        *("01a1fddb-8cbc-71e3-ab10-1ba190df7346", "+4740000000", "ola@example.com", "\ud800"),
    ],
    ids=ascii,
)
def test_no_search_finds_too_much(term: str, console: Client) -> None:
    an_sms()
    assert found(console, term.encode("utf-8", "replace").decode()) == []


def test_a_search_is_no_part_of_any_address(console: Client) -> None:
    an_sms()
    assert console.get(SEARCH, {"term": PHONE}).status_code == 405
    form = console.get(LIST).content.decode()
    assert f'method="post" action="{SEARCH}"' in form
    assert not re.search(r'<form method="get"(?:(?!</form>).)*type="text"', form, re.DOTALL)


def test_who_may_not_see_may_not_search(viewer: Client) -> None:
    sent = an_sms()
    assert found(viewer, PHONE) == [str(sent.shipment_id)]
    assert somebody(name="newcomer").post(SEARCH, {"term": PHONE}).status_code == 403
    assert Client().post(SEARCH, {"term": PHONE}).status_code == 302  # to the log-in


def test_a_search_needs_the_token_of_its_form(console: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = console.cookies
    assert strict.post(SEARCH, {"term": PHONE}).status_code == 403


@pytest.mark.parametrize("parameter", ["creator", "deliveries__destination_digest", "e", "p", "o"])
def test_no_parameter_breaks_the_list(parameter: str, console: Client) -> None:
    an_sms()
    answer = console.get(LIST, {parameter: "1"}, follow=True)
    assert answer.status_code in {200, 400}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("page", ["add", "change", "delete"])
def test_nobody_adds_changes_or_deletes(
    page: str, method: str, console: Client, viewer: Client
) -> None:
    sent = an_sms()
    url = ADD if page == "add" else page_of(sent.shipment_id, page)
    for client in (console, viewer):
        answer = getattr(client, method)(url, {"post": "yes", "creator": "evil"})
        is_reading = (page, method) == ("change", "get")
        assert answer.status_code == (200 if is_reading else 403)
    assert Shipment.objects.get().creator == "local"


def test_nobody_deletes_by_an_action(console: Client) -> None:
    sent = an_sms()
    console.post(
        LIST, {"action": "delete_selected", "_selected_action": [sent.shipment_id], "post": "yes"}
    )
    assert Shipment.objects.filter(pk=sent.shipment_id).exists()
    assert "delete_selected" not in console.get(LIST).content.decode()


def test_a_page_offers_no_way_to_save(console: Client) -> None:
    html = console.get(page_of(an_sms().shipment_id)).content.decode()
    assert 'name="_save"' not in html
    assert "deletelink" not in html
    inputs = re.findall(r'<(?:input|select|textarea) [^>]*name="(?:\w+-\d+-)?(\w+)"', html)
    assert not {"creator", "status", "handover", "gateway", "content"} & set(inputs)


def test_the_permission_to_view_is_enough_to_read(viewer: Client) -> None:
    sent = an_sms()
    assert rows(viewer.get(LIST).content.decode()) == [str(sent.shipment_id)]
    assert viewer.get(page_of(sent.shipment_id)).status_code == 200


def test_staff_without_permission_see_nothing() -> None:
    sent, newcomer = an_sms(), somebody()
    for url in (LIST, ADD, *(page_of(sent.shipment_id, page) for page in ("change", "history"))):
        assert newcomer.get(url).status_code == 403
    assert LIST not in newcomer.get(reverse("admin:index")).content.decode()


def test_a_stranger_is_asked_to_log_in() -> None:
    sent = an_sms()
    for url in (LIST, page_of(sent.shipment_id)):
        assert Client().get(url).headers["Location"].startswith(reverse("admin:login"))


def test_an_unknown_shipment_leads_back_to_the_index(console: Client) -> None:
    for unknown in ("01a1fddb-8cbc-71e3-ab10-1ba190df7346", "nonsense"):
        assert console.get(page_of(unknown)).headers["Location"] == reverse("admin:index")
