"""Who writes what in the made-up traffic. Nobody real: numbers and addresses belong to nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from instant_notifications.orders import Draft, email_draft, sms_draft
from instant_notifications.simulator.behaviours import ROWS
from instant_notifications.statuses import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A kind of message that an organisation sends now and then."""

    creator: str
    weight: int = 0
    """How often, in comparison with the others."""
    channel: Channel
    sender: str = ""
    subject: str = ""
    texts: Sequence[str]
    minutes: int = 0
    """How long an SMS is worth anything."""
    secret: bool = False
    about: str = ""
    """How the sender's reference begins; blank for none."""


CODE: Final = Letter(
    creator="digdir-demo",
    weight=46,
    channel=Channel.SMS,
    sender="Altinn",
    texts=(
        "Your code is {number}. Do not share it with anybody. (demo)",
        "Koden din er {number}. Ikke del den med noen. (demo)",
    ),
    minutes=5,
    secret=True,
)
CODE_BY_MAIL: Final = Letter(
    creator="digdir-demo",
    weight=10,
    channel=Channel.EMAIL,
    subject="Your code / koden din (demo)",
    texts=("Your code is {number}. It is good for ten minutes.",),
    secret=True,
)
APPOINTMENT: Final = Letter(
    creator="nav-demo",
    weight=14,
    channel=Channel.SMS,
    sender="NAV demo",
    texts=(
        "Hei! Du har en avtale hos oss i morgen kl. 10.30. Ring oss hvis det ikke passer. (demo)",
        "Hi! You have an appointment with us tomorrow at 10:30. Call us to change it. (demo)",
    ),
    minutes=60,
    about="avtale",
)
RECEIPT: Final = Letter(
    creator="nav-demo",
    weight=10,
    channel=Channel.EMAIL,
    subject="Vi har mottatt søknaden din (demo)",
    texts=("Hei!\n\nVi har mottatt søknaden din, sak {number}. Svaret kommer innen tre uker.",),
    about="sak",
)
TAX_RETURN: Final = Letter(
    creator="skatteetaten-demo",
    weight=12,
    channel=Channel.EMAIL,
    subject="Your tax return is ready (demo)",
    texts=("Log in to see it, and correct what is wrong. Reference {number}.",),
    about="melding",
)
TAX_CHANGE: Final = Letter(
    creator="skatteetaten-demo",
    weight=8,
    channel=Channel.SMS,
    sender="Skatt demo",
    texts=("Skattekortet ditt er endret. Logg inn for å se hva det betyr for deg. (demo)",),
    minutes=24 * 60,
    about="skattekort",
)
ALERT: Final = Letter(
    creator="beredskap-demo",
    channel=Channel.SMS,
    sender="Beredskap",
    texts=(
        (
            "FLOMVARSEL (demo), rødt nivå.\nElva stiger raskt. Hold deg unna elvebredden, og flytt "
            "det du har i kjelleren. Følg med på lokale nyheter. Neste melding kommer kl. 20."
        ),
        (
            "FLOOD WARNING (demo), red level.\nThe river is rising fast. Stay away from its banks, "
            "and empty your cellar. Follow the local news. The next message comes at 20."
        ),
    ),
    minutes=120,
    about="varsel",
)

EVERYDAY: Final = (CODE, CODE_BY_MAIL, APPOINTMENT, RECEIPT, TAX_RETURN, TAX_CHANGE)
CREATORS: Final = sorted({letter.creator for letter in (*EVERYDAY, ALERT)})

NAMES: Final = (
    "kari",
    "ola",
    "nora",
    "jakob",
    "ingrid",
    "lars",
    "sofie",
    "emil",
    "aisha",
    "mikkel",
)
_DIGITS: Final = {row.tag: row.digits for row in ROWS}


def write(letter: Letter, chance: Random, stamp: str, tag: str = "") -> Draft:
    """One of these, to somebody.

    ``stamp`` makes its idempotency id the only one; ``tag`` names the simulator's recipient who
    does what is to happen.
    """
    number = chance.randrange(100_000, 1_000_000)
    draft: dict[str, Any] = {
        "creator": letter.creator,
        "idempotency_id": f"demo-{stamp}-{chance.getrandbits(32):08x}",
        "senders_reference": f"demo-{letter.about}-{number}" if letter.about else "",
        "body": chance.choice(letter.texts).format(number=number),
        "sender": letter.sender,
        "secret": letter.secret,
    }
    if letter.channel is Channel.SMS:
        # Some people get many more messages than others.
        phone = f"9999{_DIGITS[tag]}" if tag else f"99999{int(1000 * chance.random() ** 2):03}"
        return sms_draft(destination=f"+47{phone}", time_to_live=60 * letter.minutes, **draft)
    name = f"{chance.choice(NAMES)}{chance.randrange(1, 60)}{'+' if tag else ''}{tag}"
    return email_draft(
        destination=f"{name}@example.com", subject=letter.subject, content_type="Plain", **draft
    )
