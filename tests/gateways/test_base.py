import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Final

import pytest

from instant_notifications import gateways as package
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import BaseGateway, Message, Receipt, gateways
from instant_notifications.statuses import Channel
from tests.stub import SecondGateway, StubGateway

Configure = Callable[..., None]

MESSAGE: Final = Message(
    reference="0190-1",
    channel=Channel.SMS,
    destination="+4799999999",
    sender="Altinn",
    subject="Your secret code",
    body="It is 428516",
)
STUB: Final = {"BACKEND": "tests.stub.StubGateway"}


@pytest.fixture(autouse=True)
def _forget_what_was_seen() -> Iterator[None]:
    yield
    StubGateway.seen.clear()
    SecondGateway.seen.clear()


def gateway_that(do: Callable[[], Receipt]) -> BaseGateway:
    class Gateway(BaseGateway):
        channels = frozenset(Channel)

        def send(self, message: Message) -> Receipt:
            return do()

    return Gateway("under-test")


def raising(error: BaseException) -> BaseGateway:
    def do() -> Receipt:
        raise error

    return gateway_that(do)


class TestMessage:
    def test_its_repr_tells_which_it_is_and_nothing_personal(self) -> None:
        text = repr(MESSAGE)
        assert MESSAGE.reference in text
        for secret in (MESSAGE.destination, MESSAGE.body, MESSAGE.subject, MESSAGE.sender):
            assert secret not in text

    def test_it_cannot_be_changed_on_its_way(self) -> None:
        with pytest.raises(AttributeError):
            MESSAGE.destination = "+4791234567"  # type: ignore[misc]


class TestHandOver:
    def test_the_receipt_comes_back_as_it_was_given(self) -> None:
        receipt = Receipt(gateway_reference="r", word="OK")
        assert gateway_that(lambda: receipt).hand_over(MESSAGE) is receipt

    @pytest.mark.parametrize(
        "failure",
        [Rejected("no", status="SMS_Failed"), Unavailable("later"), OutcomeUnknown("silence")],
        ids=lambda failure: type(failure).__name__,
    )
    def test_a_known_failure_passes_and_names_the_gateway(self, failure: HandoverFailed) -> None:
        with pytest.raises(HandoverFailed) as raised:
            raising(failure).hand_over(MESSAGE)
        assert raised.value is failure
        assert failure.gateway == "under-test"

    @pytest.mark.parametrize(
        "error", [ValueError, OSError, KeyError], ids=lambda error: error.__name__
    )
    def test_an_unforeseen_error_may_have_sent(self, error: type[Exception]) -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            raising(error(MESSAGE.destination, MESSAGE.body)).hand_over(MESSAGE)
        assert error.__name__ in raised.value.reason
        assert MESSAGE.destination not in repr(raised.value)
        assert MESSAGE.body not in repr(raised.value)
        assert raised.value.__cause__ is None

    def test_an_unforeseen_error_says_where_it_happened(self) -> None:
        with pytest.raises(OutcomeUnknown, match=r"ValueError at .*test_base\.py:\d+"):
            raising(ValueError("secret")).hand_over(MESSAGE)

    def test_what_lacks_configuration_was_not_sent(self) -> None:
        with pytest.raises((NotConfigured, Unavailable)):
            raising(NotConfigured("set the key")).hand_over(MESSAGE)

    @pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
    def test_a_worker_told_to_stop_does_not_log_success(
        self, stop: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        with pytest.raises(stop):
            raising(stop()).hand_over(MESSAGE)
        assert "outcome=taken" not in caplog.text

    def test_the_log_tells_the_reference_the_attempt_and_the_time(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        gateway_that(lambda: Receipt(gateway_reference="r")).hand_over(MESSAGE)
        (line,) = [line for line in caplog.messages if line.startswith("handover ")]
        assert "gateway=under-test channel=sms reference=0190-1 attempt=1 outcome=taken" in line
        assert "duration_ms=" in line

    def test_a_gateway_that_cannot_send_is_unfinished(self) -> None:
        with pytest.raises(NotImplementedError):
            BaseGateway("bare").send(MESSAGE)


class TestOptions:
    def test_unknown_ones_are_all_named(self) -> None:
        with pytest.raises(NotConfigured, match=r"'alias-a'.*colour, size"):
            StubGateway("alias-a", size=1, colour="red")

    def test_they_reach_the_gateway(self, configure: Configure) -> None:
        configure(GATEWAYS={"stub": {**STUB, "OPTIONS": {"time_to_live_unit": 60}}})
        assert gateways["stub"].time_to_live_unit == 60


class TestHandler:
    def test_an_alias_leads_to_its_gateway(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB, "two": {"BACKEND": "tests.stub.SecondGateway"}})
        assert type(gateways["one"]) is StubGateway
        assert type(gateways["two"]) is SecondGateway
        assert (gateways["one"].alias, gateways["two"].alias) == ("one", "two")

    def test_two_aliases_of_one_class_are_two_gateways(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB, "two": STUB})
        assert gateways["one"] is not gateways["two"]

    def test_an_unknown_alias_says_where_to_add_it(self, configure: Configure) -> None:
        configure(GATEWAYS={})
        with pytest.raises(
            NotConfigured, match=r"no gateway 'nope'.*INSTANT_NOTIFICATIONS\['GATEWAYS'\]"
        ):
            gateways["nope"]

    @pytest.mark.parametrize(
        ("configured", "explanation"),
        [
            ({}, "'one' has no usable BACKEND"),
            ({"BACKEND": "no.such.Gateway"}, "'one' has no usable BACKEND"),
            ({"BACKEND": "tests.stub.Nothing"}, "'one' has no usable BACKEND"),
            ({"BACKEND": "notdotted"}, "'one' has no usable BACKEND"),
            ({"BACKEND": None}, "'one'"),
            ({"BACKEND": "tests.stub.take"}, "'one' is not a gateway class"),
            ({"BACKEND": "instant_notifications.statuses.Channel"}, "'one' is not a gateway"),
        ],
        ids=["none", "no-module", "no-attribute", "no-dot", "null", "function", "other-class"],
    )
    def test_a_backend_that_cannot_be_used_is_explained(
        self, configure: Configure, configured: dict[str, Any], explanation: str
    ) -> None:
        configure(GATEWAYS={"one": configured})
        with pytest.raises(NotConfigured, match=explanation):
            gateways["one"]

    def test_what_failed_once_can_be_had_after_it_is_mended(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": {"BACKEND": "no.such.Gateway"}})
        with pytest.raises(NotConfigured):
            gateways["one"]
        configure(GATEWAYS={"one": STUB})
        assert isinstance(gateways["one"], StubGateway)

    def test_a_thread_keeps_its_gateway(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB})
        assert gateways["one"] is gateways["one"]

    def test_threads_do_not_share_a_gateway(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB})
        together = Barrier(4)

        def own(_: int) -> tuple[BaseGateway, BaseGateway]:
            first = gateways["one"]
            together.wait(10)
            return first, gateways["one"]

        with ThreadPoolExecutor(4) as pool:
            pairs = list(pool.map(own, range(4)))
        assert all(first is second for first, second in pairs)
        assert len({id(first) for first, _ in pairs}) == 4

    def test_a_change_of_settings_is_noticed(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB})
        before = gateways["one"]
        configure(GATEWAYS={"one": {"BACKEND": "tests.stub.SecondGateway"}})
        assert isinstance(gateways["one"], SecondGateway)
        assert gateways["one"] is not before

    def test_other_settings_leave_it_alone(self, configure: Configure, settings: Any) -> None:
        configure(GATEWAYS={"one": STUB})
        before = gateways["one"]
        settings.DEFAULT_FROM_EMAIL = "someone@example.com"
        assert gateways["one"] is before

    def test_a_fresh_one_can_be_had_for_inspection(self, configure: Configure) -> None:
        configure(GATEWAYS={"one": STUB})
        assert gateways.create("one") is not gateways["one"]

    def test_the_package_offers_what_a_gateway_needs(self) -> None:
        assert set(package.__all__) >= {"BaseGateway", "Message", "Receipt", "gateways"}
