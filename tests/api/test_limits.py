"""Requests of an organisation in a span of time, and what it gets past that."""

from typing import Any

import pytest

from instant_notifications.exceptions import Blocked, Unavailable
from instant_notifications.models import Order, Refusals
from tests.api.conftest import EMAIL, ORDER, ROUTES, SMS, post, problem
from tests.outcomes import fails
from tests.stub import take
from tests.test_dispatch import statements
from tests.threads import at_once

pytestmark = pytest.mark.django_db


def requests(route: Any, many: int, first: int = 0) -> list[Any]:
    return [route.request(idempotencyId=f"id-{each}") for each in range(first, first + many)]


@pytest.fixture
def two_a_minute(configure: Any, stub: Any) -> None:
    configure(LIMITS={"creator": (2, 60)})


@pytest.mark.usefixtures("two_a_minute")
@pytest.mark.parametrize("route", [*ROUTES, ORDER], ids=str)
def test_past_the_limit_it_is_told_which_and_for_how_long(route: Any, api: Any) -> None:
    answers = [post(api, route, each) for each in requests(route, 3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    body = problem(answers[-1], 429, "IN-00005")
    assert body["limit"] == "creator"
    assert 28 <= int(answers[-1]["Retry-After"]) <= 30
    assert "id-2" not in answers[-1].content.decode()


@pytest.mark.usefixtures("two_a_minute")
def test_a_refused_request_leaves_no_order_and_its_id_free(
    api: Any, stub: Any, configure: Any
) -> None:
    for each in requests(SMS, 3):
        post(api, SMS, each)
    assert Order.objects.count() == len(stub.seen) == 2
    assert Refusals.objects.get().number == 1
    configure(LIMITS={"creator": None})
    assert post(api, SMS, requests(SMS, 1, first=2)[0]).status_code == 201


@pytest.mark.usefixtures("two_a_minute")
def test_each_organisation_has_its_own_and_all_routes_share_it(client_of: Any) -> None:
    ttd, skd = client_of("ttd"), client_of("skd")
    for route, client in ((SMS, ttd), (ORDER, ttd), (SMS, skd), (EMAIL, skd)):
        assert post(client, route).status_code == 201
    for route, client in ((SMS, ttd), (EMAIL, ttd), (EMAIL, skd), (ORDER, skd)):
        problem(post(client, route, requests(route, 1, first=7)[0]), 429, "IN-00005")


@pytest.mark.usefixtures("two_a_minute")
def test_what_became_of_a_message_is_told_past_the_limit_too(api: Any, stub: Any) -> None:
    first, second = requests(SMS, 2)
    post(api, SMS, first)
    stub.do = fails(Unavailable, "x")
    assert post(api, SMS, second).status_code == 503
    assert post(api, SMS, first)["Idempotent-Replayed"] == "true"
    stub.do = take
    assert post(api, SMS, second).status_code == 201
    assert not Refusals.objects.exists()


@pytest.mark.usefixtures("two_a_minute")
def test_what_was_ordered_is_told_past_the_limit_too(api: Any, stub: Any) -> None:
    first, second, third = requests(ORDER, 3)
    assert [post(api, ORDER, each).status_code for each in (first, second)] == [201, 201]
    assert post(api, ORDER, first)["Idempotent-Replayed"] == "true"
    problem(post(api, ORDER, third), 429, "IN-00005")
    assert Order.objects.count() == 2


@pytest.mark.usefixtures("two_a_minute")
def test_what_is_wrong_anyhow_is_not_counted(api: Any) -> None:
    for _ in range(5):
        assert post(api, SMS, SMS.request(phoneNumber="12345")).status_code == 400
    assert post(api, SMS).status_code == 201


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("two_a_minute")
def test_of_many_at_once_no_more_are_sent(client_of: Any, stub: Any) -> None:
    client_of("ttd")
    calls = [lambda each=each: post(client_of("ttd"), SMS, each) for each in requests(SMS, 10)]
    codes = [answer.status_code for answer in at_once(*calls)]
    assert sorted(codes) == [201] * 2 + [429] * 8
    assert len(stub.seen) == 2


@pytest.mark.django_db(transaction=True)
def test_it_takes_one_statement(api: Any, configure: Any, stub: Any) -> None:
    first, second, third = requests(SMS, 3)
    post(api, SMS, first)
    taken = statements(lambda: post(api, SMS, second))
    assert len(taken) <= 10, "\n".join(taken)
    configure(LIMITS={"creator": None})
    assert len(statements(lambda: post(api, SMS, third))) == len(taken) - 1


def test_who_is_blocked_is_told_no_more_than_that(
    api: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Blocked("listed")

    monkeypatch.setattr("instant_notifications.guard.charge_send", refuse)
    answer = post(api, SMS)
    assert "listed" not in str(problem(answer, 403, "IN-00006"))
