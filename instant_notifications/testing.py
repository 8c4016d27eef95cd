"""What every gateway keeps, as tests. Subclass ``GatewayContract`` and fill in the provider."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar, Final

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import BaseGateway, Message, Receipt, UnreadableReceipts
from instant_notifications.statuses import FINAL_STAGES, STAGES, WORDS, Channel, Stage

LONGEST_WORD: Final = 255
"""What the rows that keep references, words and reasons can hold."""

GRACE: Final = 1.0
"""Seconds a gateway may need on top of its time-out."""


class GatewayContract:
    """Say which gateway it is, what it carries, and how to make its provider behave.

    The four ``when_…`` prepare the provider and return the message to hand over: the one given,
    or one like it if the message itself tells the provider what to do.
    """

    gateway_class: ClassVar[type[BaseGateway]]
    options: ClassVar[Mapping[str, Any]] = {}
    messages: ClassVar[Mapping[Channel, Message]]
    """A good message for each channel that the gateway carries."""

    def when_accepting(self, message: Message) -> Message:
        raise NotImplementedError

    def when_refusing(self, message: Message) -> Message:
        """The provider says no for good."""
        raise NotImplementedError

    def when_unreachable(self, message: Message) -> Message:
        raise NotImplementedError

    def when_silent(self, message: Message) -> Message:
        """The provider gets the whole message and does not answer within its time-out."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "message" in metafunc.fixturenames:
            messages = type(self).messages
            metafunc.parametrize("message", messages.values(), ids=list(messages))

    def make_gateway(self, **options: Any) -> BaseGateway:
        return self.gateway_class("under-test", **{**self.options, **options})

    def failure_of(self, message: Message) -> HandoverFailed:
        with pytest.raises(HandoverFailed) as raised:
            self.make_gateway().hand_over(message)
        return raised.value

    def test_it_carries_the_channels_it_declares(self) -> None:
        assert self.gateway_class.channels
        assert self.gateway_class.channels == set(self.messages)

    def test_it_has_nothing_to_complain_about(self) -> None:
        assert not list(self.make_gateway().check())

    def test_acceptance_brings_a_reference(self, message: Message) -> None:
        receipt = self.make_gateway().hand_over(self.when_accepting(message))
        assert isinstance(receipt, Receipt)
        assert 0 < len(receipt.gateway_reference) <= LONGEST_WORD
        assert len(receipt.word) <= LONGEST_WORD

    def test_acceptance_is_no_failure_in_disguise(self, message: Message) -> None:
        receipt = self.make_gateway().hand_over(self.when_accepting(message))
        if receipt.status is not None:
            assert STAGES[receipt.status] in {Stage.SENDING, Stage.ACCEPTED, Stage.DELIVERED}

    def test_a_refusal_is_final_and_says_what_failed(self, message: Message) -> None:
        failure = self.failure_of(self.when_refusing(message))
        assert isinstance(failure, Rejected)
        assert failure.status.startswith(WORDS[message.channel].failed)
        assert STAGES[failure.status] in FINAL_STAGES

    def test_a_provider_out_of_reach_was_not_sent_to(self, message: Message) -> None:
        assert isinstance(self.failure_of(self.when_unreachable(message)), Unavailable)

    def test_silence_after_the_message_left_is_ambiguous(self, message: Message) -> None:
        message = self.when_silent(replace(message, timeout=0.5))
        assert isinstance(self.failure_of(message), OutcomeUnknown)

    def test_a_hanging_provider_costs_no_more_than_the_timeout(self, message: Message) -> None:
        message = self.when_silent(replace(message, timeout=1.0))
        started = monotonic()
        self.failure_of(message)
        assert monotonic() - started < message.timeout + GRACE

    def test_an_unforeseen_error_is_ambiguous(
        self, message: Message, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stumble(gateway: BaseGateway, message: Message) -> Receipt:
            raise KeyError(message.destination, message.body)

        monkeypatch.setattr(self.gateway_class, "send", stumble)
        failure = self.failure_of(message)
        assert isinstance(failure, OutcomeUnknown)
        assert_impersonal(failure, message)

    @pytest.mark.parametrize("behaviour", ["refusing", "unreachable", "silent"])
    def test_a_failure_names_the_gateway_and_no_person(
        self, message: Message, behaviour: str
    ) -> None:
        message = getattr(self, f"when_{behaviour}")(replace(message, timeout=0.5))
        failure = self.failure_of(message)
        assert failure.gateway == "under-test"
        assert 0 < len(failure.reason) <= LONGEST_WORD
        assert_impersonal(failure, message)

    @pytest.mark.parametrize("behaviour", ["accepting", "refusing", "unreachable", "silent"])
    def test_a_hand_over_leaves_one_line_in_the_log_and_no_person(
        self, message: Message, behaviour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        message = getattr(self, f"when_{behaviour}")(replace(message, timeout=0.5))
        outcome = "taken"
        try:
            self.make_gateway().hand_over(message)
        except HandoverFailed as failure:
            outcome = type(failure).__name__
        lines = [line for line in caplog.messages if line.startswith("handover ")]
        assert len(lines) == 1
        words = dict(word.split("=", 1) for word in lines[0].split()[1:])
        assert words["gateway"] == "under-test"
        assert words["channel"] == message.channel
        assert words["reference"] == message.reference
        assert words["outcome"] == outcome
        assert 0 <= int(words["duration_ms"]) < 60_000
        assert_says_nothing_of(message, caplog.text)

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<a/>", b"a=b"])
    def test_a_push_from_anybody_is_not_let_in(self, body: bytes) -> None:
        gateway = self.make_gateway()
        for headers in ({}, {"Authorization": "Basic Og=="}, {"Authorization": "Bearer e30.e30."}):
            assert gateway.authenticates(a_push(body, headers=headers)) is False

    def test_an_option_it_does_not_know_is_named(self) -> None:
        with pytest.raises(NotConfigured, match=r"under-test.*no_such_option"):
            self.make_gateway(no_such_option=1)


class PushedReceipts:
    """More of the contract, for a gateway whose provider pushes receipts; mix it in as well."""

    gateway_class: ClassVar[type[BaseGateway]]

    make_gateway: Any

    def push(self, *receipts: Receipt) -> HttpRequest:
        """A genuine push with these receipts, in the provider's own form.

        ``word`` is what the provider says; ``status`` what the gateway is expected to make of it.
        """
        raise NotImplementedError

    receipts: ClassVar[Sequence[Receipt]]
    """Some that the provider may send, each with its word and the status it stands for."""

    def test_a_genuine_push_is_let_in(self) -> None:
        assert self.make_gateway().authenticates(self.push(*self.receipts)) is True

    def test_the_same_push_without_its_credentials_is_not(self) -> None:
        push = self.push(*self.receipts)
        for name in [name for name in push.META if name.startswith("HTTP_")]:
            del push.META[name]
        assert self.make_gateway().authenticates(push) is False

    def test_receipts_come_one_by_one_or_many_at_once(self) -> None:
        gateway = self.make_gateway()
        for receipt in self.receipts:
            assert list(gateway.read_receipts(self.push(receipt))) == [receipt]
        assert list(gateway.read_receipts(self.push(*self.receipts))) == list(self.receipts)

    def test_a_word_that_is_new_is_kept_raw(self) -> None:
        strange = replace(self.receipts[0], word="NEWLYMADE", status=None)
        (receipt,) = self.make_gateway().read_receipts(self.push(strange))
        assert (receipt.status, receipt.word) == (None, "NEWLYMADE")

    @pytest.mark.parametrize(
        "body", [b"", b"\x00", b"null", b"[[]]", b"{", b"<", b"\xff\xfe", b"=&"]
    )
    def test_what_is_no_push_is_unreadable_or_empty(self, body: bytes) -> None:
        receipts: list[Receipt] = []
        with suppress(UnreadableReceipts):
            receipts = list(self.make_gateway().read_receipts(a_push(body)))
        assert receipts == []

    def test_it_is_acknowledged(self) -> None:
        assert self.make_gateway().acknowledge(self.receipts).status_code in range(200, 300)


def a_push(body: bytes, *, headers: Mapping[str, str] | None = None) -> HttpRequest:
    return RequestFactory().generic(
        "POST", "/delivery-reports/under-test", body, "application/json", headers=headers
    )


def assert_impersonal(failure: HandoverFailed, message: Message) -> None:
    """Neither the texts of a failure nor its cause tell who was written to, or what."""
    assert failure.__cause__ is None
    for text in (str(failure), repr(failure), failure.reason, repr(vars(failure))):
        assert_says_nothing_of(message, text)


def assert_says_nothing_of(message: Message, text: str) -> None:
    local_part = message.destination.partition("@")[0]
    for secret in (message.destination, local_part, message.body, message.subject):
        assert not secret or secret not in text
