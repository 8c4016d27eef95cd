"""SMS by Twilio's Programmable Messaging, and its status callbacks as receipts.

Twilio keeps no idempotency key for messages, so an answer that is missing or cannot be read leaves
the outcome unknown. Whatever it says by a code of its own is clear.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, urlsplit

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.http import HttpRequest, QueryDict, RawPostDataException
from django.utils.crypto import constant_time_compare

from instant_notifications import http
from instant_notifications.conf import settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.base import (
    BaseGateway,
    Message,
    Receipt,
    UnreadableReceipts,
    only_asking,
)
from instant_notifications.statuses import STAGES, Channel, Stage

LONGEST_VALIDITY: Final = 36_000
"""Seconds that Twilio holds a message in its queue at most (its error 90007)."""

STATUSES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("accepted", "scheduled", "queued", "sending", "sent"), "SMS_Accepted"),
    **dict.fromkeys(("delivered", "read"), "SMS_Delivered"),
    "undelivered": "SMS_Failed_Undelivered",
    "failed": "SMS_Failed",
    "canceled": "SMS_Failed_Deleted",
}
"""Our word for a message's state."""

FAILURES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("21211", "21217", "21265", "21401", "21614", "21635", "30005", "30006"),
        "SMS_Failed_InvalidRecipient",
    ),
    # A recipient who said STOP has barred one sender. RecipientReserved is more: no messages at all
    # from anybody. To reach them through the next gateway all the same is not ours to decide.
    **dict.fromkeys(("21610", "30004"), "SMS_Failed_BarredReceiver"),
    **dict.fromkeys(("21617", "30007"), "SMS_Failed_Rejected"),
    "30003": "SMS_Failed_Undelivered",
    "30036": "SMS_Failed_Expired",
}
"""The error codes that find fault with the recipient or the text, and so are final.

The others are about us, our account or the route: the sender (21212, 21603, 21606, 21659, 21660),
the destination's country (21408, 21612), credentials (20003, 20005, 20404), a queue (21611, 30001).
"""

_STATES_BY_CODE: Final = frozenset({"undelivered", "failed"})

_FROM_IN_BETWEEN: Final = frozenset({502, 504})
"""Without a code of Twilio's, these come from something that had passed the request on."""

_NOBODY_IT_KNOWS: Final = frozenset({401, 403, 404})

_LACKS_PERMISSION: Final = "70051"

_is_code = re.compile(r"[1-9][0-9]{4}").fullmatch
_is_reference = re.compile(r"[A-Za-z0-9]{1,64}").fullmatch
_is_account_sid = re.compile(r"AC[0-9a-fA-F]{32}").fullmatch
_is_sender = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[ -~]{1,11}").fullmatch


class TwilioGateway(BaseGateway):
    """``OPTIONS``: ``account_sid`` and ``auth_token``, as the Twilio console shows them.

    ``api_key_sid`` and ``api_key_secret`` send in the token's place; the token still proves the
    receipts. A message without a sender of its own goes out by ``messaging_service_sid``, else from
    ``sender``. ``public_url`` is the address the API's routes have from outside; without it no
    receipts come, and nobody is let in to push any.
    """

    channels = frozenset({Channel.SMS})

    def __init__(
        self,
        alias: str,
        *,
        account_sid: str,
        auth_token: str,
        api_key_sid: str = "",
        api_key_secret: str = "",
        sender: str = "",
        messaging_service_sid: str = "",
        public_url: str = "",
        base_url: str = "https://api.twilio.com",
        **options: Any,
    ) -> None:
        super().__init__(alias, **options)
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.api_key_sid = api_key_sid
        self.api_key_secret = api_key_secret
        self.sender = sender
        self.messaging_service_sid = messaging_service_sid
        self.public_url = public_url
        self.base_url = base_url
        # Made here: an option that cannot be read must not first show in the middle of a hand-over.
        account = quote(account_sid, safe="")
        self._account_url = f"{base_url.rstrip('/')}/2010-04-01/Accounts/{account}"
        try:
            self._callback = _callback(public_url, alias) if public_url else ""
            self._signed_addresses = _spellings(self._callback) if public_url else frozenset()
        except ValueError:
            raise NotConfigured(f"The public_url of gateway {alias!r} is no address.") from None

    def send(self, message: Message) -> Receipt:
        answer = self.request(
            "POST",
            f"{self._account_url}/Messages.json",
            data=self._form_of(message),
            auth=self._credentials,
            timeout=message.timeout,
        )
        if not answer.ok:
            raise _refusal(answer)
        return _acceptance(answer)

    def authenticates(self, request: HttpRequest) -> bool:
        """By ``X-Twilio-Signature``, for the address in our settings: never for the one that the
        request claims to have come to, which behind a proxy is another, and may be forged."""
        if not self.auth_token:
            return False
        given = request.headers.get("X-Twilio-Signature", "")
        form = _form_in(request)
        return any(
            constant_time_compare(given, signature(self.auth_token, address, form))
            for address in self._signed_addresses
        )

    def read_receipts(self, request: HttpRequest) -> Iterator[Receipt]:
        form = _form_in(request)
        reference = form.get("MessageSid", "")
        if not reference:
            raise UnreadableReceipts("no MessageSid")
        yield _receipt(reference, form.get("MessageStatus", ""), _code(form.get("ErrorCode")))

    def check(self) -> Iterator[CheckMessage]:
        for is_wrong, problem, hint in self._problems():
            if is_wrong:
                yield Error(
                    f"The gateway {self.alias!r} {problem}.",
                    hint=hint,
                    id="instant_notifications.E010",
                )
        if not self.public_url:
            yield Warning(
                f"The gateway {self.alias!r} gets no receipts: all its messages will expire.",
                hint="Set its option public_url to the address of the API's routes from outside.",
                id="instant_notifications.W008",
            )

    def probe(self, timeout: float) -> None:
        """Is the account active, and are the credentials good?

        Only the token may ask for the account: to most API keys it is closed. A key is asked about
        a message that does not exist, which gives nobody's away.
        """
        deadline = monotonic() + timeout
        self._probe_account(timeout)
        if self.api_key_sid:
            self._probe_key(max(0, deadline - monotonic()))

    def _probe_account(self, timeout: float) -> None:
        options = "account_sid and auth_token"
        answer = self._ask("", (self.account_sid, self.auth_token), timeout)
        if answer.status_code in _NOBODY_IT_KNOWS:
            raise self._not_configured("does not know the account", options, answer)
        state = answer.json_object().get("status")
        if not (answer.ok and isinstance(state, str)):
            raise Unavailable(_reason(answer))
        if state != "active":
            raise self._not_configured("holds the account for inactive", options, answer)

    def _probe_key(self, timeout: float) -> None:
        answer = self._ask(f"/Messages/SM{'0' * 32}", self._credentials, timeout)
        # A key may be good for sending and yet not for reading.
        if answer.ok or answer.status_code == 404 or _code_in(answer) == _LACKS_PERMISSION:
            return
        if answer.status_code in _NOBODY_IT_KNOWS:
            options = "api_key_sid and api_key_secret"
            raise self._not_configured("does not know the API key", options, answer)
        raise Unavailable(_reason(answer))

    def _ask(self, path: str, auth: tuple[str, str], timeout: float) -> http.Answer:
        url = f"{self._account_url}{path}.json"
        with only_asking():
            return self.request("GET", url, auth=auth, timeout=timeout)

    def _not_configured(self, problem: str, options: str, answer: http.Answer) -> NotConfigured:
        return NotConfigured(
            f"Twilio {problem} ({_reason(answer)}). Set {options} of gateway {self.alias!r} as the "
            "Twilio console shows them."
        )

    @property
    def _credentials(self) -> tuple[str, str]:
        if self.api_key_sid:
            return self.api_key_sid, self.api_key_secret
        return self.account_sid, self.auth_token

    def _form_of(self, message: Message) -> dict[str, str]:
        fields = {
            "To": message.destination,
            "Body": message.body,
            "ValidityPeriod": str(max(1, min(message.time_to_live, LONGEST_VALIDITY))),
            "StatusCallback": self._callback,
            **self._origin_of(message),
        }
        return {name: value for name, value in fields.items() if value}

    def _origin_of(self, message: Message) -> dict[str, str]:
        """A service chooses among the senders of its own pool, so a sender that the message names
        goes without it."""
        if self.messaging_service_sid and not message.sender:
            return {"MessagingServiceSid": self.messaging_service_sid}
        return {"From": message.sender or self.sender}

    def _problems(self) -> Iterable[tuple[bool, str, str]]:
        names_a_sender = self.sender or self.messaging_service_sid or settings.DEFAULT_SMS_SENDER
        console = "The Twilio console shows it under API keys & tokens."
        return (
            (
                not _is_account_sid(self.account_sid),
                "has an account_sid that is none",
                f"It is AC and 32 hexadecimal digits. {console}",
            ),
            (not self.auth_token, "has no auth_token", f"It proves the receipts, too. {console}"),
            (
                bool(self.api_key_sid) != bool(self.api_key_secret),
                "has half an API key",
                "Set both api_key_sid and api_key_secret, or neither.",
            ),
            (
                not names_a_sender,
                "has no sender for messages that name none",
                "Set its sender or messaging_service_sid.",
            ),
            (
                bool(self.sender) and not _is_sender(self.sender),
                "has a sender that Twilio would not take",
                "Write a number as +4799999999, a short code, or a name of at most 11 characters.",
            ),
            (
                not http.is_private(self.base_url),
                "has a base_url that is not https",
                "Messages and credentials go there.",
            ),
            (
                bool(self.public_url) and not http.is_private(self.public_url),
                "has a public_url that is not https",
                "Receipts tell who was written to.",
            ),
        )


def signature(token: str, url: str, form: QueryDict) -> str:
    """What Twilio writes into ``X-Twilio-Signature`` when it pushes ``form`` to ``url``.

    Each value of a parameter counts once, however often it comes.
    """
    pairs = (name + value for name in sorted(form) for value in sorted(set(form.getlist(name))))
    signed = url + "".join(pairs)
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def _callback(public_url: str, alias: str) -> str:
    """Where receipts for this gateway arrive."""
    public = urlsplit(public_url)
    path = f"{public.path.rstrip('/')}/delivery-reports/{quote(alias, safe='')}"
    return public._replace(path=path).geturl()


def _spellings(url: str) -> frozenset[str]:
    """The ways in which Twilio may have written ``url`` when it signed it.

    Depending on the product it leaves the port out or writes even the usual one. A fragment holds
    instructions to Twilio itself and is not part of the request.
    """
    written = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(written.scheme)
    host = written.netloc.removesuffix(f":{written.port}")
    addresses = (written.netloc, host, f"{host}:{written.port or usual}")
    return frozenset(
        written._replace(netloc=address, fragment=fragment).geturl()
        for address in addresses
        for fragment in (written.fragment, "")
    )


def _form_in(request: HttpRequest) -> QueryDict:
    try:
        return QueryDict(request.body, encoding="utf-8")
    except RawPostDataException:  # a middleware has read the form already
        return request.POST


def _acceptance(answer: http.Answer) -> Receipt:
    said = answer.json_object()
    reference = said.get("sid")
    if not (isinstance(reference, str) and _is_reference(reference)):
        raise OutcomeUnknown(f"{answer.status_code} without a sid")
    word, code = str(said.get("status") or ""), _code(said.get("error_code"))
    taken = _receipt(reference, word, code)
    if taken.status and STAGES[taken.status] is Stage.FAILED:
        raise _failure(_joined(answer.status_code, taken.word), code)
    return Receipt(gateway_reference=reference, word=taken.word if taken.status else "")


def _refusal(answer: http.Answer) -> HandoverFailed:
    """What an answer other than 2xx means: certainly not sent, unless it is not Twilio's.

    Twilio creates nothing when it answers by an error, so the next gateway may try. It does not
    redirect at all: such an answer is not from Twilio, and what it stands for nobody knows.
    """
    code, reason, status = _code_in(answer), _reason(answer), answer.status_code
    if not 400 <= status < 600 or (status in _FROM_IN_BETWEEN and not code):
        return OutcomeUnknown(reason)
    # A 400 finds fault with what was asked, and the next message asks something else.
    return _failure(reason, code, retry_after=answer.retry_after, only_this_message=status == 400)


def _failure(reason: str, code: str, **about: Any) -> HandoverFailed:
    if code in FAILURES:
        return Rejected(reason, status=FAILURES[code])
    return Unavailable(reason, **about)


def _receipt(reference: str, state: str, code: str) -> Receipt:
    status = STATUSES.get(state)
    if state in _STATES_BY_CODE:
        status = FAILURES.get(code, status)
    return Receipt(gateway_reference=reference, status=status, word=_joined(state, code))


def _code_in(answer: http.Answer) -> str:
    return _code(answer.json_object().get("code"))


def _code(said: object) -> str:
    """One of Twilio's error codes; blank for anything else, which might be about a person."""
    code = str(said)
    return code if _is_code(code) else ""


def _reason(answer: http.Answer) -> str:
    """Status and code. Never Twilio's text, which quotes numbers."""
    return _joined(answer.status_code, _code_in(answer))


def _joined(*words: object) -> str:
    return " ".join(str(word) for word in words if word)
