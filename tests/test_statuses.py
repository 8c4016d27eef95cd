from itertools import product

import pytest

from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Channel,
    OrderStatus,
    ShipmentType,
    Stage,
    is_final,
    may_follow,
)

ORDER = "Registered Processing Processed Completed SendConditionNotMet Cancelled"
SMS_OPEN = "New Sending Accepted"
SMS_FINAL = (
    "Delivered Failed Failed_InvalidRecipient Failed_RecipientReserved Failed_BarredReceiver "
    "Failed_Deleted Failed_Expired Failed_Undelivered Failed_RecipientNotIdentified "
    "Failed_Rejected Failed_TTL"
)
EMAIL_OPEN = "New Sending Succeeded"
EMAIL_FINAL = (
    "Delivered Failed Failed_RecipientReserved Failed_RecipientNotIdentified "
    "Failed_InvalidFormat Failed_SuppressedRecipient Failed_TransientError Failed_Bounced "
    "Failed_FilteredSpam Failed_Quarantined Failed_TTL"
)


def words(prefix: str, endings: str) -> list[str]:
    return [f"{prefix}_{ending}" for ending in endings.split()]


OPEN = {Channel.SMS: words("SMS", SMS_OPEN), Channel.EMAIL: words("Email", EMAIL_OPEN)}
FINAL = {Channel.SMS: words("SMS", SMS_FINAL), Channel.EMAIL: words("Email", EMAIL_FINAL)}
ALL = {channel: OPEN[channel] + FINAL[channel] for channel in Channel}
EXPIRED = [WORDS[channel].expired for channel in Channel]


def test_the_order_words_are_those_of_the_contract() -> None:
    assert list(OrderStatus) == words("Order", ORDER)


def test_the_shipment_types_are_those_of_the_contract() -> None:
    assert list(ShipmentType) == ["Instant", "Notification", "Reminder"]


def test_the_delivery_words_are_those_of_the_contract() -> None:
    assert set(STAGES) == {word for channel in Channel for word in ALL[channel]}


@pytest.mark.parametrize("channel", Channel)
def test_exactly_the_final_words_are_final(channel: Channel) -> None:
    assert [word for word in ALL[channel] if is_final(word)] == FINAL[channel]


@pytest.mark.parametrize("channel", Channel)
def test_a_failure_is_what_its_name_says(channel: Channel) -> None:
    failed = {word for word in ALL[channel] if STAGES[word] in {Stage.FAILED, Stage.EXPIRED}}
    assert failed == {word for word in ALL[channel] if "_Failed" in word}


def test_only_our_own_clock_expires() -> None:
    assert [word for word, stage in STAGES.items() if stage is Stage.EXPIRED] == EXPIRED
    assert EXPIRED == ["SMS_Failed_TTL", "Email_Failed_TTL"]


def test_the_operators_word_for_expiry_is_not_our_clock() -> None:
    assert STAGES["SMS_Failed_Expired"] is Stage.FAILED


@pytest.mark.parametrize("word", STAGES)
def test_a_word_never_follows_itself(word: str) -> None:
    assert not may_follow(word, word)


@pytest.mark.parametrize("old", [word for word in STAGES if STAGES[word] is not Stage.EXPIRED])
def test_nothing_follows_a_final_word_that_was_genuine(old: str) -> None:
    following = [new for new in STAGES if may_follow(old, new)]
    assert bool(following) is not is_final(old)


@pytest.mark.parametrize("channel", Channel)
def test_only_a_genuine_end_replaces_our_own_expiry(channel: Channel) -> None:
    expired = WORDS[channel].expired
    following = {new for new in ALL[channel] if may_follow(expired, new)}
    assert following == set(FINAL[channel]) - {expired}


@pytest.mark.parametrize("channel", Channel)
def test_an_open_delivery_may_come_to_any_end(channel: Channel) -> None:
    for old, new in product(OPEN[channel], FINAL[channel]):
        assert may_follow(old, new), (old, new)


@pytest.mark.parametrize("channel", Channel)
def test_what_was_accepted_is_never_sent_again(channel: Channel) -> None:
    accepted = WORDS[channel].accepted
    assert not [new for new in OPEN[channel] if may_follow(accepted, new)]


@pytest.mark.parametrize("channel", Channel)
def test_a_hand_over_that_failed_may_be_tried_again(channel: Channel) -> None:
    known = WORDS[channel]
    assert may_follow(known.new, known.sending)
    assert may_follow(known.sending, known.new)
    assert may_follow(known.sending, known.accepted)


@pytest.mark.parametrize("channel", Channel)
def test_no_way_leads_back_from_an_end(channel: Channel) -> None:
    for old, new in product(FINAL[channel], OPEN[channel]):
        assert not may_follow(old, new), (old, new)
