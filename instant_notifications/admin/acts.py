"""What can be done about messages: first a page that says what will happen to each, then the deed.

Both go by POST. The deed may be asked for twice, by a double click or by two people: it is done
once.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from instant_notifications import orders, privacy
from instant_notifications.admin import recalls
from instant_notifications.admin.reading import Page, reason, uuids
from instant_notifications.exceptions import (
    HandoverFailed,
    NotAllowed,
    NotFound,
    NotificationError,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.models import Delivery, Shipment, primary
from instant_notifications.orders import verdicts
from instant_notifications.orders.verdicts import Matter, May, Verdict
from instant_notifications.statuses import ShipmentType

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

DELIVERY: Final = "delivery"
"""How forms name one; shipments and whole orders as ``recalls`` says."""

ASKED: Final = " if sure"

MOST: Final = 100
"""Deliveries that are dealt with at once."""

PATIENCE: Final = 15.0
"""Seconds after which no further one is begun: the page must answer before its server gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Somebody wants something done about a delivery."""

    field: ClassVar = DELIVERY

    delivery_id: UUID
    seen: int
    """How many resends of it that person has seen."""
    by: str
    because: str
    sure: bool

    @property
    def token(self) -> str:
        return _token(self.delivery_id, self.seen, asked=self.sure)


def _token(delivery_id: UUID, seen: int, *, asked: bool) -> str:
    """How a form names a delivery, and whether it has asked if somebody is sure of it."""
    return f"{delivery_id} {seen}{ASKED if asked else ''}"


def _resend(wish: Wish) -> orders.Sent:
    return orders.resend(
        wish.delivery_id, by=wish.by, because=wish.because, sure=wish.sure, after=wish.seen
    )


def _cancel(wish: Wish) -> Delivery:
    return orders.cancel(wish.delivery_id, by=wish.by, because=wish.because)


def _expire(wish: Wish) -> Delivery:
    return orders.expire(wish.delivery_id, by=wish.by, because=wish.because)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    name: str
    permission: str
    title: "_StrPromise"
    judge: Callable[[Matter, datetime], Verdict]
    carry_out: Callable[[Wish], orders.Sent | Delivery]
    done: Promise
    logged: str
    is_looked_for: bool = False
    """Whether people want to be told where it is not possible."""
    recalls: bool = False
    """Whether shipments of regular orders are dealt with as a whole, deliveries or not."""


ACTS: Final[Sequence[Act]] = (
    Act(
        name="resend",
        permission="resend",
        title=_("Send again"),
        judge=verdicts.may_resend,
        carry_out=_resend,
        done=_("Sent again."),
        logged="Sent again",
        is_looked_for=True,
    ),
    Act(
        name="cancel",
        permission="end",
        title=pgettext_lazy("a message", "Cancel"),
        judge=verdicts.may_cancel,
        carry_out=_cancel,
        done=_("Cancelled: it will not be sent."),
        logged="Cancelled",
        recalls=True,
    ),
    Act(
        name="expire",
        permission="end",
        title=_("Expire"),
        judge=verdicts.may_expire,
        carry_out=_expire,
        done=_("Written down as expired."),
        logged="Expired",
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One delivery as the page shows it before the deed."""

    matter: Matter
    status: str
    verdict: Verdict

    field: ClassVar = DELIVERY
    is_of_order: ClassVar = False

    @property
    def shipment_id(self) -> UUID:
        return self.delivery.shipment_id

    @property
    def recipient(self) -> str:
        return privacy.mask(self.delivery.destination)

    @property
    def delivery(self) -> Delivery:
        return self.matter.delivery

    @property
    def token(self) -> str:
        seen = len(self.matter.resends)
        return _token(self.delivery.pk, seen, asked=self.needs_certainty)

    @property
    def may_be_done(self) -> bool:
        return self.verdict.may is not May.NO

    @property
    def needs_certainty(self) -> bool:
        return self.verdict.may is May.IF_SURE


@dataclass(frozen=True, slots=True)
class Button:
    """An act on the page of a message."""

    title: Promise
    address: str
    """What to post to; blank where it is not possible."""
    why: Promise
    field: str = recalls.SHIPMENT
    """How the shipment is named in the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one wish."""

    act: Act
    shipment_id: UUID
    because: str
    text: object
    what: str = ""
    """For the log, where it is more than the shipment."""
    went_well: bool = False
    is_known_already: bool = False
    """Nothing was done: somebody had done it before."""
    leads_to: UUID | None = None
    """The new shipment, if one was made."""

    @property
    def logged(self) -> str:
        new = f" as {self.leads_to}" if self.leads_to else ""
        success = "" if self.went_well else ", without success"
        return f"{self.act.logged}{self.what}{new}{success}: {self.because}"


def routes(page: Page) -> Iterator[URLPattern]:
    for act in ACTS:
        review, carry_out = partial(_review_one, page, act), partial(_carry_out, page, act)
        yield page.posted(review, f"{act.name}-review", action=act.permission)
        yield page.posted(carry_out, act.name, action=act.permission)


def list_actions() -> Sequence[Callable[..., HttpResponse | None]]:
    """For the list's menu: what is ticked there is reviewed."""
    return [_list_action(act) for act in ACTS]


def _list_action(act: Act) -> Callable[..., HttpResponse | None]:
    def action(page: Page, request: HttpRequest, chosen: QuerySet[Shipment]) -> HttpResponse:
        return _review(page, act, request, list(chosen.values_list("pk", flat=True)[: MOST + 1]))

    action.__name__ = act.name
    return admin.action(action, permissions=[act.permission], description=act.title)


def of_story(page: Page, request: HttpRequest, shipment: Shipment) -> Sequence[Button]:
    """What this person may do about a message, and why not what everybody would look for."""
    allowed = [act for act in ACTS if page.may(request, act.permission)]
    if not allowed:
        return []
    now, theirs = timezone.now(), verdicts.to_judge(_deliveries_of([shipment.pk]))
    is_regular = shipment.type != ShipmentType.INSTANT
    buttons: list[Button | None] = []
    for act in allowed:
        if act.recalls and is_regular:
            buttons += _recall_buttons(page, act, shipment)
        else:
            buttons.append(_button(page, act, [act.judge(each, now) for each in theirs]))
    return [button for button in buttons if button]


def _button(page: Page, act: Act, judged: Sequence[Verdict]) -> Button | None:
    possible = [verdict for verdict in judged if verdict.may is not May.NO]
    if not possible and not (judged and act.is_looked_for):
        return None
    address = page.address(f"{act.name}-review") if possible else ""
    return Button(act.title, address, (possible or judged)[0].why)


def _recall_buttons(page: Page, act: Act, shipment: Shipment) -> Iterator[Button]:
    address = page.address(f"{act.name}-review")
    found = [*recalls.of_shipments([shipment.pk])]
    if not recalls.is_alone(shipment):
        found += recalls.of_whole_orders([shipment.pk])
    for each in found:
        if each.may_be_done:
            yield Button(_RECALLS[len(found), each.field], address, each.verdict.why, each.field)


_RECALLS: Final[Mapping[tuple[int, str], Promise]] = {
    (1, recalls.SHIPMENT): pgettext_lazy("a message", "Cancel"),
    (2, recalls.SHIPMENT): _("Cancel this shipment"),
    (2, recalls.WHOLE_ORDER): _("Cancel the whole order"),
}
"""What the buttons are called where there are so many."""


def _review_one(page: Page, act: Act, request: HttpRequest) -> HttpResponse:
    return _review(page, act, request, _named(request, recalls.SHIPMENT))


def _named(request: HttpRequest, field: str) -> Sequence[UUID]:
    """Shipments in the form; one more than are dealt with at once, to see whether there are."""
    return uuids(request.POST.getlist(field)[: MOST + 1])


def _review(page: Page, act: Act, request: HttpRequest, shipments: Sequence[UUID]) -> HttpResponse:
    regular = recalls.of_shipments(shipments) if act.recalls else []
    whole = recalls.of_whole_orders(_named(request, recalls.WHOLE_ORDER)) if act.recalls else []
    others = set(shipments) - {each.shipment_id for each in regular}
    return _show_review(page, act, request, _deliveries_of(others), [*regular, *whole])


def _deliveries_of(shipments: Collection[UUID]) -> Sequence[UUID]:
    """One more than are dealt with at once, to see whether there are."""
    theirs = Delivery.objects.using(primary()).filter(shipment__in=shipments)
    return list(theirs.order_by("created_at", "pk").values_list("pk", flat=True)[: MOST + 1])


def _show_review(
    page: Page,
    act: Act,
    request: HttpRequest,
    delivery_ids: Sequence[UUID],
    recalled: Sequence[recalls.Recall],
) -> HttpResponse:
    now = timezone.now()
    matters = verdicts.to_judge(delivery_ids[:MOST])
    cases = [Case(each, each.delivery.status_at(now), act.judge(each, now)) for each in matters]
    every: list[Case | recalls.Recall] = [*cases, *recalled]
    return page.show(
        request,
        "review.html",
        act=act,
        title=act.title,
        cases=every[:MOST],
        to_do=sum(case.may_be_done for case in every[:MOST]),
        needs_certainty=any(case.needs_certainty for case in every),
        because=reason(request),
        too_many=len(delivery_ids) > MOST or len(every) > MOST,
        most=MOST,
    )


def _carry_out(page: Page, act: Act, request: HttpRequest) -> HttpResponse:
    wishes, recalled = _wishes(request), _recalled(act, request)
    if not reason(request) and (wishes or recalled):
        messages.error(request, _("Say why, for those who come after you."))
        keys = [wish.delivery_id for wish in wishes]
        return _show_review(page, act, request, keys, recalled)
    deliveries = Delivery.objects.as_recorded().in_bulk([wish.delivery_id for wish in wishes])
    there = [wish for wish in wishes if wish.delivery_id in deliveries]
    if len(there) < len(wishes):
        messages.warning(request, _("Some are not here any more: they were deleted by their age."))
    left: list[Wish | recalls.Recall] = [*there, *recalled]
    outcomes, give_up = [], monotonic() + PATIENCE
    while left and monotonic() < give_up:
        wish = left.pop(0)
        if isinstance(wish, Wish):
            outcome = _try(act, wish, deliveries[wish.delivery_id].shipment)
        else:
            outcome = _try_to_recall(act, wish, request)
        if not outcome.is_known_already:
            page.log_change(request, Shipment(pk=outcome.shipment_id), outcome.logged)
        outcomes.append(outcome)
    context = {"outcomes": outcomes, "left": left, "because": reason(request)}
    is_sure = "sure" in request.POST
    return page.show(request, "done.html", act=act, title=act.title, is_sure=is_sure, **context)


def _recalled(act: Act, request: HttpRequest) -> Sequence[recalls.Recall]:
    """The shipments and whole orders that the form names."""
    if not act.recalls:
        return []
    return [
        *recalls.of_shipments(_named(request, recalls.SHIPMENT)[:MOST]),
        *recalls.of_whole_orders(_named(request, recalls.WHOLE_ORDER)[:MOST]),
    ]


def _try_to_recall(act: Act, recall: recalls.Recall, request: HttpRequest) -> Outcome:
    because, by = reason(request), request.user.get_username()
    outcome = partial(
        Outcome, act=act, shipment_id=recall.shipment_id, because=because, what=recall.logged
    )
    try:
        text = recall.carry_out(by, because)
    except NotAllowed as refusal:
        return outcome(text=refusal.why)
    except NotFound:
        return outcome(text=_GONE)
    return outcome(text=text, went_well=True, is_known_already=recall.is_done_already)


def _wishes(request: HttpRequest) -> Sequence[Wish]:
    """What the form asks for, once for each delivery; what is no token is left out."""
    because, by = reason(request), request.user.get_username()
    wishes = {}
    for token in request.POST.getlist(DELIVERY)[:MOST]:
        key, _space, rest = token.partition(" ")
        seen = rest.removesuffix(ASKED)
        if re.fullmatch("[0-9]{1,6}", seen) and (keys := uuids([key])):
            sure = rest.endswith(ASKED) and "sure" in request.POST
            wishes[keys[0]] = Wish(
                delivery_id=keys[0], seen=int(seen), by=by, because=because, sure=sure
            )
    return list(wishes.values())


def _try(act: Act, wish: Wish, shipment: Shipment) -> Outcome:
    outcome = partial(Outcome, shipment_id=shipment.pk, act=act, because=wish.because)
    try:
        result = act.carry_out(wish)
    except NotAllowed as refusal:
        return outcome(text=refusal.why)
    except HandoverFailed as failure:
        return outcome(text=_of_kind(failure), leads_to=failure.shipment_id)
    except NotificationError as error:
        return outcome(text=str(error))
    except Delivery.DoesNotExist:
        return outcome(text=_GONE)
    if not isinstance(result, orders.Sent):
        return outcome(text=act.done, went_well=True)
    return outcome(
        text=_("It was sent again already.") if result.replayed else act.done,
        leads_to=result.shipment_id,
        went_well=True,
        is_known_already=result.replayed,
    )


_GONE: Final = _("It is not here any more: it was deleted by its age.")

_FAILURES: Final[Mapping[type[HandoverFailed], Promise]] = {
    Rejected: _("A new message was made, but it was refused."),
    Unavailable: _("No gateway could take it now: it was not sent."),
    OutcomeUnknown: _("A new message was made, and nobody knows whether it was sent."),
    StillUnderWay: _("It is being sent again at this moment."),
}


def _of_kind(failure: HandoverFailed) -> Promise:
    return next(text for kind, text in _FAILURES.items() if isinstance(failure, kind))
