"""What all made-up messages have in common: the gateways, the clock, and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf, log
from random import Random
from typing import Final
from uuid import UUID

from instant_notifications import health
from instant_notifications.conf import settings
from instant_notifications.history import Call
from instant_notifications.models import GatewayState
from instant_notifications.statuses import Outcome

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_REASONS: Final[Mapping[Outcome, str]] = {
    Outcome.TAKEN: "",
    Outcome.REFUSED: "simulated refusal",
    Outcome.NOT_SENT: "simulated outage",
    Outcome.UNKNOWN: "simulated time-out",
    Outcome.PASSED_OVER: health.FAILING,
}
_FAULTS: Final = (Outcome.NOT_SENT, Outcome.UNKNOWN)


LAST_CALL: Final = timedelta(minutes=1)


def about(seconds: float, chance: Random) -> timedelta:
    """Mostly near this, now and then several times as long, as networks are."""
    return timedelta(seconds=chance.lognormvariate(log(seconds), 0.5))


def uuid7_of(moment: datetime, chance: Random) -> UUID:
    """The identifier that ``models.uuid7`` might have given at that moment."""
    milliseconds, rest = divmod((moment - _EPOCH) // timedelta(microseconds=1), 1000)
    fraction = (rest << 12) // 1000
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | chance.getrandbits(62)
    )


@dataclass(slots=True)
class Gateway:
    """One that answers, but for an outage, and what is held against it."""

    alias: str
    pace: float
    """Seconds it usually takes."""
    down_from: datetime | None = None
    down_to: datetime | None = None
    failures: int = 0
    last_failure: str = ""
    last_failure_at: datetime | None = None
    passed_over_until: datetime | None = None

    def answer(self, at: datetime, wanted: Outcome, chance: Random) -> Call:
        """What comes of asking it; ``wanted``, unless its own state says otherwise."""
        outcome = self._outcome(at, wanted)
        took = about(self._seconds(outcome), chance)
        if outcome is Outcome.UNKNOWN:
            took = timedelta(seconds=settings.HANDOVER_BUDGET)
        self._learn(outcome, at + took)
        return Call(
            gateway=self.alias,
            started_at=at,
            duration=took,
            outcome=outcome,
            reason=_REASONS[outcome],
        )

    def is_down(self, at: datetime) -> bool:
        return bool(self.down_from and self.down_to and self.down_from <= at < self.down_to)

    def _outcome(self, at: datetime, wanted: Outcome) -> Outcome:
        if self.passed_over_until and at < self.passed_over_until:
            return Outcome.PASSED_OVER
        return Outcome.NOT_SENT if self.is_down(at) else wanted

    def _seconds(self, outcome: Outcome) -> float:
        return {Outcome.PASSED_OVER: 0.001, Outcome.NOT_SENT: 1.2}.get(outcome, self.pace)

    def _learn(self, outcome: Outcome, at: datetime) -> None:
        if outcome in _FAULTS:
            self.failures += 1
            self.last_failure, self.last_failure_at = _REASONS[outcome], at
            if self.failures >= (settings.CIRCUIT_FAILURES or inf):
                self.passed_over_until = at + timedelta(seconds=settings.CIRCUIT_PAUSE)
        elif outcome is not Outcome.PASSED_OVER:
            self.failures, self.passed_over_until = 0, None

    def state(self) -> GatewayState:
        return GatewayState(
            alias=self.alias,
            failures=self.failures,
            last_failure=self.last_failure,
            last_failure_at=self.last_failure_at,
            passed_over_until=self.passed_over_until,
        )


@dataclass(slots=True)
class World:
    """What all messages have in common."""

    chance: Random
    gateways: Sequence[Gateway]
    end: datetime
    """Nothing that happens later has happened yet."""

    @property
    def last_call(self) -> datetime:
        """No hand-over begins later, that it be over by the end."""
        return self.end - LAST_CALL

    def reachable(self, at: datetime) -> Gateway:
        return next(gateway for gateway in self.gateways if not gateway.is_down(at))
