from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from requests import Response

from tests.live.conftest import Serve
from tests.live.harness import PATIENCE, Service, at_once, email, gunicorn, states_of
from tests.smtp import MailServer, Step, say_after


def test_fifty_equal_requests_at_once_send_one_mail(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str]
) -> None:
    mail_server.on(Step.DOT, say_after(0.5, "250 taken"))
    service = serve(gunicorn(processes=4, threads=8), **by_mail)
    answers = at_once([lambda: service.post("email", email("the-same"))] * 50)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len(service.workers("POST")) > 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count("true") == 49
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert mail_server.addressed == ["kari@example.com"]
    shipment_id = answers[0].json()["notification"]["shipmentId"]
    assert states_of(service.manifest(shipment_id)) == ("Order_Completed", "Email_Succeeded")
    assert [entry["shipmentId"] for entry in service.feed()] == [shipment_id]


def test_two_hundred_requests_with_duplicates_send_each_message_once(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str]
) -> None:
    mail_server.on(Step.DOT, say_after(0.1, "250 taken"))
    service = serve(gunicorn(processes=4, threads=8), **by_mail)
    ids = [f"message-{number - 3 if number % 5 == 4 else number}" for number in range(200)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(_send(service), ids, timeout=PATIENCE))
    assert Counter(answer.status_code for answer in answers) == {201: 160, 200: 40}
    assert len(service.workers("POST")) == 4
    assert Counter(mail_server.addressed) == {f"{each}@example.com": 1 for each in ids}
    by_id: dict[str, list[Response]] = {}
    for each, answer in zip(ids, answers, strict=True):
        by_id.setdefault(each, []).append(answer)
    assert {each: len({answer.text for answer in same}) for each, same in by_id.items()} == (
        dict.fromkeys(ids, 1)
    )
    assert len({answer.text for answer in answers}) == len(
        {mail.data for mail in mail_server.mails}
    )
    assert sorted(entry["sequenceNumber"] for entry in service.feed()) == list(range(1, 161))


def _send(service: Service) -> Callable[[str], Response]:
    return lambda each: service.post("email", email(each, to=f"{each}@example.com"))
