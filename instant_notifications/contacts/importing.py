"""Take in what a file says of persons and organisations, line by line."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext_noop

from instant_notifications import rules
from instant_notifications.contacts import local
from instant_notifications.contacts.addresses import LONGEST_NAME, mobile_number
from instant_notifications.contacts.files import Line
from instant_notifications.models import ContactEntry
from instant_notifications.recipients import Kind

BATCH: Final = 500

KIND: Final = "Expected person, organisation or external."
LIST: Final = "Expected a list of strings."
FUTURE: Final = gettext_noop("Expected a time that has passed.")
MEMBERS: Final = "It has other members than {known}."

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

YES_OR_NO: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "ja", "1"), True),
    **dict.fromkeys(("false", "no", "nei", "0", ""), False),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is not taken in, and all that is wrong with it: no values, so it may be shown."""

    line: int
    entry: int
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class Step:
    """What came of some lines."""

    line: int
    """The last of them."""
    kept: int
    refused: Sequence[Refusal]


@dataclass(frozen=True, slots=True)
class Draft:
    entry: ContactEntry = field(repr=False)
    columns: frozenset[str]
    """What the line says something about; anything else stays as it is known."""


class Refused(Exception):  # noqa: N818
    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(*problems)


def take_in(lines: Iterable[Line], *, dry_run: bool = False) -> Iterator[Step]:
    """Keep what is good, batch by batch, each in a transaction of its own."""
    lines = iter(lines)
    while batch := list(islice(lines, BATCH)):
        drafts: list[Draft] = []
        refused: list[Refusal] = []
        for each in batch:
            try:
                drafts.append(draft_of(each))
            except Refused as refusal:
                refused.append(Refusal(each.number, each.entry, refusal.problems))
        if not dry_run:
            _keep(drafts)
        yield Step(batch[-1].number, len(drafts), refused)


def _keep(drafts: Sequence[Draft]) -> None:
    for columns, alike in groupby(drafts, attrgetter("columns")):
        local.keep([draft.entry for draft in alike], columns)


def draft_of(line: Line) -> Draft:
    """Raises ``Refused`` with everything that is wrong with the line."""
    if line.problem:
        raise Refused(line.problem)
    if not line.said.keys() <= RULES.keys():
        raise Refused(MEMBERS.format(known=", ".join(RULES)))
    checked: dict[str, Any] = {}
    problems = []
    for name, rule in _rules_for(line.said).items():
        try:
            checked[name] = rule(line.said.get(name), name)
        except rules.Broken as broken:
            problems.append(f"{name}: {broken}")
    if problems:
        raise Refused(*problems)
    return Draft(ContactEntry(**checked), frozenset(line.said))


def _rules_for(said: Mapping[str, object]) -> Mapping[str, rules.Rule]:
    """What a number must look like hangs on whose it is; of a wrong kind it is not looked at."""
    try:
        return {**RULES, "number": NUMBERS[_kind(said.get("kind"), "kind")]}
    except rules.Broken:
        return {name: rule for name, rule in RULES.items() if name != "number"}


def _kind(value: object, name: str) -> Kind:
    written = rules.text("" if value is None else value, name).strip().lower()
    if written not in NUMBERS:
        raise rules.Broken(KIND)
    return Kind(written)


def _name(value: object, name: str) -> str:
    return rules.text(value, name, limit=LONGEST_NAME).strip()


def _each(rule: rules.Rule) -> rules.Rule:
    """The rule for a list, or for a text with a ``;`` between the values; without duplicates."""

    def rule_for_all(value: object, name: str) -> list[str]:
        values = value.split(";") if isinstance(value, str) else value
        if not isinstance(values, list):
            raise rules.Broken(LIST)
        is_text = isinstance(value, str)
        written = [each for each in values if each.strip()] if is_text else values
        return list(dict.fromkeys(rule(each, name) for each in written))

    return rule_for_all


def _yes_or_no(value: object, name: str) -> bool:  # noqa: ARG001 (a rule's signature)
    if isinstance(value, bool):
        return value
    try:
        return YES_OR_NO[str(value).strip().lower() if isinstance(value, str) else "?"]
    except KeyError:
        raise rules.Broken(rules.NOT_BOOLEAN) from None


def _time_that_has_passed(value: object, name: str) -> datetime:
    written = rules.text(value, name).strip()
    try:
        moment = datetime.fromisoformat(written)
        aware = moment if moment.tzinfo else timezone.make_aware(moment)
        confirmed_at = aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise rules.Broken(rules.NOT_TIME) from None
    if confirmed_at < EARLIEST:
        raise rules.Broken(rules.NOT_TIME)
    if confirmed_at > timezone.now() + rules.CLOCK_LEEWAY:
        raise rules.Broken(FUTURE)
    return confirmed_at


def _or_else(rule: rules.Rule, default: Callable[[], Any]) -> rules.Rule:
    """The rule for a member that may be absent, null or blank."""

    def rule_or_default(value: object, name: str) -> object:
        is_blank = value is None or (isinstance(value, str) and not value.strip())
        return default() if is_blank else rule(value, name)

    return rule_or_default


NUMBERS: Final[Mapping[str, rules.Rule]] = {
    Kind.PERSON: rules.national_identity_number,
    Kind.ORGANISATION: rules.organisation_number,
    Kind.EXTERNAL: rules.external_identity,
}

RULES: Final[Mapping[str, rules.Rule]] = {
    "kind": _kind,
    "number": rules.text,
    "name": rules.optional(_name),
    "phone_numbers": _or_else(_each(mobile_number), list),
    "email_addresses": _or_else(_each(rules.email_address), list),
    "reserved": _or_else(_yes_or_no, bool),
    "confirmed_at": _or_else(_time_that_has_passed, timezone.now),
}
"""The columns of a file."""
