"""Many are worked off with few statements, and leave those who send at once their turn."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from instant_notifications.gateways import Receipt
from instant_notifications.planning import sender
from instant_notifications.receipts import record_receipts
from tests.outcomes import gateways
from tests.regular import deliveries, order, phones, sent, told
from tests.stub import StubGateway

pytestmark = pytest.mark.django_db

FRAME = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


def statements(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return sum(not each["sql"].startswith(FRAME) for each in captured)


@pytest.mark.parametrize(
    ("reports_receipts", "most"),
    [pytest.param(True, 6.5, id="receipts follow"), pytest.param(False, 9, id="the last word")],
)
def test_planned_and_handed_over_a_message_costs_few_statements(
    reports_receipts: bool, most: float, stub: type[StubGateway], configure: Callable[..., None]
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": reports_receipts}))
    sent(order(phones(1)))
    few, many = (statements(lambda n=n: sent(order(phones(n)))) for n in (10, 30))
    # MariaDB cannot say what an update has written, and is asked.
    assert (many - few) / 20 <= most + (connection.vendor == "mysql")


def test_receipts_of_many_messages_cost_as_many_statements_as_those_of_few(
    stub: type[StubGateway],
) -> None:
    def arrive(number: int) -> int:
        references = [each.gateway_reference for each in sent(order(phones(number)))]
        receipts = [Receipt(gateway_reference=each, status="SMS_Delivered") for each in references]
        return statements(lambda: record_receipts("stub", receipts))

    arrive(1)
    assert arrive(20) == arrive(5)
    assert len(told()) == 26


def test_it_rests_after_each_message_where_one_writer_locks_out_all_others(
    stub: type[StubGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(sender, "sleep", rests.append)
    placed = order(phones(3))
    sent(placed)
    assert len(deliveries(placed)) == 3
    assert len(rests) == (0 if connection.features.has_select_for_update else 3)
    assert all(0 < each <= sender.LONGEST_REST for each in rests)
