"""What Altinn's profile service knows of persons and organisations.

It is only ever asked, so a question without an answer costs nothing but another try.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from django.core.checks import CheckMessage

from instant_notifications import http
from instant_notifications.contacts.base import BaseRegister, Contact, Identity
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.gateways import only_asking
from instant_notifications.gateways.altinn_service import AltinnService
from instant_notifications.recipients import Kind

_STRANGE: Final = "an answer that is none"
_REFUSED_TOKEN: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How one kind of identity is asked for, and the members of what is answered."""

    path: str
    numbers: str
    number: str
    phones: str
    emails: str
    knows_stale: bool = False
    """Only what has been confirmed lately is told, unless one asks for more."""


CALLS: Final[Mapping[Kind, Call]] = {
    Kind.PERSON: Call(
        path="users/contactpoint/lookup",
        numbers="nationalIdentityNumbers",
        number="nationalIdentityNumber",
        phones="mobileNumber",
        emails="email",
        knows_stale=True,
    ),
    Kind.EXTERNAL: Call(
        path="users/contactpoint/lookupsi",
        numbers="externalIdentities",
        number="externalIdentity",
        phones="mobileNumber",
        emails="email",
    ),
    Kind.ORGANISATION: Call(
        path="organizations/notificationaddresses/lookup",
        numbers="organizationNumbers",
        number="organizationNumber",
        phones="mobileNumberList",
        emails="emailList",
    ),
}


class AltinnProfileRegister(BaseRegister):
    """``OPTIONS``: the ``url`` of the service, up to and including ``/profile/api/v1/``.

    Its token comes from ``maskinporten`` and ``exchange_url``, or is the fixed ``token``, as of an
    ``AltinnGateway``. ``scope`` is the one that Altinn has granted for these questions.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str = "",
        maskinporten: Mapping[str, str] | None = None,
        exchange_url: str | None = "",
        scope: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._service = AltinnService(
            url,
            whose="the contact register",
            token=token,
            maskinporten={"scope": scope, **maskinporten} if maskinporten else None,
            exchange_url=exchange_url,
        )

    def look_up(
        self, identities: Collection[Identity], *, include_stale: bool, timeout: float
    ) -> Mapping[Identity, Contact]:
        deadline = monotonic() + timeout
        found: dict[Identity, Contact] = {}
        for kind, call in CALLS.items():
            sought = _by_number(each for each in identities if each.kind == kind)
            said = self._ask(call, _asked(sought), include_stale, deadline) if sought else ()
            for number, contact in said:
                for identity in sought.get(number.lower(), ()):
                    found[identity] = _both(found.get(identity), contact)
        return found

    def check(self) -> Iterable[CheckMessage]:
        return self._service.check()

    def _ask(
        self, call: Call, numbers: Sequence[str], include_stale: bool, deadline: float
    ) -> Iterator[tuple[str, Contact]]:
        question: dict[str, object] = {call.numbers: numbers}
        if call.knows_stale:
            question["useStaleContactInfo"] = include_stale
        with only_asking():
            answer = self._service.say("POST", call.path, deadline, json=question)
        if not answer.ok:
            raise _failure(answer)
        for entry in _list(answer.json_object().get("contactPointsList"), dict):
            yield _text(entry.get(call.number)), _contact(entry, call)


def _by_number(identities: Iterable[Identity]) -> Mapping[str, Sequence[Identity]]:
    """Names are the same in any case."""
    found: defaultdict[str, list[Identity]] = defaultdict(list)
    for each in identities:
        found[each.number.lower()].append(each)
    return found


def _asked(sought: Mapping[str, Sequence[Identity]]) -> Sequence[str]:
    return [theirs[0].number for theirs in sought.values()]


def _failure(answer: http.Answer) -> NotConfigured | Unavailable:
    if answer.status_code in _REFUSED_TOKEN:
        return NotConfigured(
            "The profile service refuses the token of the contact register (HTTP "
            f"{answer.status_code}). It must be in force and have the scope that Altinn has "
            "granted for it."
        )
    if answer.status_code == 404:
        return NotConfigured(
            "The profile service is not below the option 'url' of the contact register (HTTP 404)."
            " It ends with /profile/api/v1/."
        )
    return Unavailable(f"HTTP {answer.status_code}", retry_after=answer.retry_after)


def _contact(entry: Mapping[str, Any], call: Call) -> Contact:
    return Contact(
        phone_numbers=_texts(entry.get(call.phones)),
        email_addresses=_texts(entry.get(call.emails)),
        reserved=_is_reserved(entry.get("isReserved", False)),
    )


def _is_reserved(said: object) -> bool:
    if not isinstance(said, bool):
        raise Unavailable(_STRANGE)  # whoever is reserved must not be taken for one who is not
    return said


def _texts(said: object) -> Sequence[str]:
    """One, several or none."""
    if said is None:
        return []
    return [said] if isinstance(said, str) else _list(said, str)


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise Unavailable(_STRANGE)
    return said


def _list(said: object, kind: type) -> Sequence[Any]:
    if not (isinstance(said, list) and all(isinstance(each, kind) for each in said)):
        raise Unavailable(_STRANGE)
    return said


def _both(known: Contact | None, said: Contact) -> Contact:
    """Of somebody who is told of twice."""
    if known is None:
        return said
    return Contact(
        phone_numbers=[*known.phone_numbers, *said.phone_numbers],
        email_addresses=[*known.email_addresses, *said.email_addresses],
        reserved=known.reserved or said.reserved,
    )
