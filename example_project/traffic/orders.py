"""The regular orders of a day: who orders what, when, for whom, and what becomes of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

from django.utils.timezone import localtime

from example_project.traffic.acts import bounced, delivered, not_sent, swept_up, taken
from example_project.traffic.cast import ORGANISATIONS, OTHERS, PEOPLE, contacts_of
from example_project.traffic.chain import Chain, Fate
from example_project.traffic.world import World, about
from instant_notifications import recipients, windows
from instant_notifications.orders import Email, NoticeDraft, OrderDraft, Sms
from instant_notifications.planning.planner import ASK_AGAIN_AFTER
from instant_notifications.recipients import Recipient, Schema
from instant_notifications.statuses import Channel

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A message, or a reminder of one."""

    sms: str = ""
    email: str = ""
    at_night: bool = False
    after: timedelta = timedelta(0)
    """How long after the order it is due; or of a reminder, after the message."""
    answers: Sequence[bool | None] = ()
    """What its condition says, each time that is asked; empty if it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One order, and how it fares."""

    creator: str
    at: time
    about: str
    """How the sender's references begin."""
    sender: str = ""
    subject: str = ""
    to: Sequence[Recipient]
    notes: Sequence[Note]
    fates: Sequence[Fate] = ()
    """Of its messages, in order; the others fare as messages do."""
    cancelled_after: timedelta | None = None
    in_a_dialog: bool = False


_COMPANIES: Final = [each.number for each in ORGANISATIONS]
_PEOPLE: Final = [each.number for each in PEOPLE]

PLOTS: Final = (
    Plot(  # of which nothing is sent on this day
        creator="beredskap-demo",
        at=time(2, 10),
        about="øvelse",
        sender="Beredskap",
        subject="Varslingsøvelse (demo)",
        to=[recipients.organisation(each, Schema.EMAIL_AND_SMS) for each in _COMPANIES[:4]],
        notes=(
            Note(
                sms="Øvelse i dag kl. 12, $recipientName$. Svar ikke på denne meldingen.",
                email="Til $recipientName$ ($recipientNumber$).\n\nVi øver på varsling i dag.",
                after=timedelta(hours=29, minutes=50),
            ),
            Note(
                sms="Hvordan gikk øvelsen? Logg inn og svar på fire spørsmål. (demo)",
                email="Til $recipientName$.\n\nLogg inn og fortell oss hvordan øvelsen gikk.",
                after=7 * DAY,
            ),
        ),
    ),
    Plot(
        creator="digdir-demo",
        at=time(5, 50),
        about="vedlikehold",
        sender="Altinn",
        to=[recipients.phone("+4799999961")],
        notes=(
            Note(sms="Tjenesten er nede for vedlikehold fra kl. 10 til kl. 12. (demo)"),
            Note(sms="Tjenesten er tilbake. (demo)", after=DAY),
        ),
        cancelled_after=timedelta(minutes=85),
    ),
    Plot(  # one of them is reserved, and one has no telephone
        creator="nav-demo",
        at=time(6, 40),
        about="møte",
        sender="NAV demo",
        to=[recipients.person(each, Schema.SMS) for each in _PEOPLE],
        notes=(Note(sms="Hei, $recipientName$! Vi ses i morgen kl. 13. Ta med legitimasjon."),),
    ),
    Plot(
        creator="nav-demo",
        at=time(7, 30),
        about="samtale",
        sender="NAV demo",
        subject="Samtale i dag (demo)",
        to=[recipients.person(_PEOPLE[0], Schema.EMAIL_AND_SMS)],
        notes=(
            Note(
                sms="Vi ringer deg i dag kl. 14.30. (demo)",
                email="Hei, $recipientName$!\n\nVi ringer deg i dag kl. 14.30.",
                at_night=True,
            ),
            Note(
                sms="Du har ikke bekreftet samtalen kl. 14.30. (demo)",
                email="Hei, $recipientName$!\n\nDu har ikke bekreftet samtalen kl. 14.30.",
                after=timedelta(hours=5),
                answers=(False,),
            ),
        ),
        in_a_dialog=True,
    ),
    Plot(
        creator="skatteetaten-demo",
        at=time(8, 5),
        about="mva",
        sender="Skatt demo",
        subject="Frist for mva-meldingen (demo)",
        to=[recipients.organisation(each, Schema.EMAIL_PREFERRED) for each in _COMPANIES],
        notes=(
            Note(
                sms="Fristen for mva-meldingen til $recipientName$ er om ti dager.",
                email="Til $recipientName$ ($recipientNumber$).\n\nFristen er om ti dager.",
            ),
            Note(
                sms="Fristen for mva-meldingen til $recipientName$ er om tre dager.",
                email="Til $recipientName$ ($recipientNumber$).\n\nFristen er om tre dager.",
                after=7 * DAY,
            ),
        ),
    ),
    Plot(
        creator="digdir-demo",
        at=time(10, 20),
        about="signering",
        subject="Et dokument venter på deg (demo)",
        to=[recipients.mailbox("aisha62@example.com")],
        notes=(Note(email="Logg inn for å signere det.", answers=(None, True)),),
    ),
    Plot(
        creator="digdir-demo",
        at=time(11, 10),
        about="fullmakt",
        subject="Du har fått en fullmakt (demo)",
        to=[recipients.mailbox("emil63@example.com")],
        notes=(Note(email="Logg inn for å se hva du kan gjøre med den."),),
        fates=((not_sent, swept_up, delivered),),
    ),
    Plot(
        creator="digdir-demo",
        at=time(13, 25),
        about="innlogging",
        subject="Du har en ny melding (demo)",
        to=[recipients.external(each.number) for each in OTHERS],
        notes=(Note(email="Logg inn for å lese den."),),
    ),
    Plot(  # it has no telephone
        creator="skatteetaten-demo",
        at=time(15, 40),
        about="kontroll",
        sender="Skatt demo",
        subject="Vi har spørsmål til regnskapet (demo)",
        to=[recipients.organisation(_COMPANIES[8], Schema.EMAIL_AND_SMS)],
        notes=(
            Note(
                sms="Vi har sendt $recipientName$ spørsmål om regnskapet. Logg inn og svar.",
                email="Til $recipientName$ ($recipientNumber$).\n\nLogg inn og svar på dem.",
            ),
        ),
    ),
    Plot(
        creator="nav-demo",
        at=time(16, 45),
        about="kurs",
        subject="Velkommen på kurs (demo)",
        to=[recipients.mailbox(f"deltaker{each}@example.com") for each in range(1, 11)],
        notes=(Note(email="Hei!\n\nKurset begynner på mandag kl. 9."),),
    ),
    Plot(
        creator="skatteetaten-demo",
        at=time(20, 15),
        about="restskatt",
        sender="Skatt demo",
        to=[recipients.phone(f"+479999997{each}") for each in range(3)],
        notes=(Note(sms="Restskatten din forfaller i morgen. Logg inn for å betale. (demo)"),),
    ),
)

ORDINARY: Final[Sequence[Fate]] = ((taken, delivered), (taken, bounced), (taken,))
WEIGHTS: Final = (90, 6, 4)

_NOWHERE: Final = "https://{plot.creator}.invalid/{plot.about}/{number}"
"""Conditions: whoever works an order off later must not ask a stranger."""

NO_LATER_THAN: Final = timedelta(minutes=5)
"""Before the end: so nothing is left half done that a worker would have finished at once."""

Turn = tuple[datetime, Callable[[], object]]
"""When it is whose turn to play."""


def place_orders(world: World, begin: datetime) -> Iterator[tuple[Chain, Sequence[Turn]]]:
    """Those of the day, and what is still to be played of each."""
    for plot in PLOTS:
        moment = _last(plot.at, world.end - NO_LATER_THAN)
        if moment > begin:
            draft = _draft(plot, moment, world.chance)
            chain = Chain(draft, moment, world, contacts_of(plot.to))
            yield chain, list(_turns(chain, plot))


def _last(clock: time, before: datetime) -> datetime:
    """The last time that the clock showed this."""
    shown = localtime(before).replace(
        hour=clock.hour, minute=clock.minute, second=2, microsecond=417_000
    )
    return (shown if shown <= before else shown - DAY).astimezone(UTC)


def _turns(chain: Chain, plot: Plot) -> Iterator[Turn]:
    chance, end = chain.world.chance, chain.world.end
    fates = _fates(plot, chance)
    for place, note in enumerate(plot.notes):
        due_at = chain.notices[place].requested_at
        at = due_at + about(0.1 if due_at == chain.now else 3, chance)
        if due_at <= end:
            at = min(at, end)
        for answer in note.answers or [True]:
            yield at, partial(chain.plan, place, at, answer)
            planned_at, at = at, at + ASK_AGAIN_AFTER + about(3, chance)
        for handed_over_at in (planned_at, windows.opening(planned_at)):
            at = handed_over_at + about(0.02, chance)
            yield at, partial(chain.hand_over, at, fates)
    if plot.cancelled_after:
        at = chain.now + plot.cancelled_after
        yield at, partial(chain.cancel, at)


def _fates(plot: Plot, chance: Random) -> Iterator[Fate]:
    yield from plot.fates
    while True:
        yield from chance.choices(ORDINARY, WEIGHTS)


def _draft(plot: Plot, moment: datetime, chance: Random) -> OrderDraft:
    message_at = _after(moment, plot.notes[0])
    number = chance.randrange(1000, 10_000)
    return OrderDraft(
        creator=plot.creator,
        idempotency_id=f"demo-{moment:%Y%m%d%H%M}-{plot.about}",
        notices=[
            NoticeDraft(
                recipients=None if place else plot.to,
                content=dict(_content(plot, note)),
                requested_at=_after(message_at, note) if place else message_at,
                given_time=_given_time(note, message_at if place else moment),
                condition=_NOWHERE.format(plot=plot, number=number) if note.answers else "",
                senders_reference=f"demo-{plot.about}-{number}{f'-{place}' if place else ''}",
            )
            for place, note in enumerate(plot.notes)
        ],
        dialog=_dialog(chance) if plot.in_a_dialog else None,
    )


def _after(moment: datetime, note: Note) -> datetime:
    """Whole days later, or at a full minute."""
    later = moment + note.after
    return later.replace(second=0, microsecond=0) if note.after % DAY else later


def _given_time(note: Note, moment: datetime) -> str:
    if note.after % DAY:
        return _after(moment, note).isoformat()
    return f"{note.after.days} days" if note.after else ""


def _content(plot: Plot, note: Note) -> Iterator[tuple[Channel, Mapping[str, object]]]:
    if note.sms:
        yield Channel.SMS, asdict(Sms(note.sms, sender=plot.sender, daytime=not note.at_night))
    if note.email:
        yield Channel.EMAIL, asdict(Email(plot.subject, note.email))


def _dialog(chance: Random) -> Mapping[str, str]:
    """Of Dialogporten, whose identifiers these might be."""
    names = ("dialogId", "transmissionId")
    return {name: str(UUID(int=chance.getrandbits(128), version=4)) for name in names}
