"""A pair of pages: one asks where to send a code, the other asks for the code.

Subclass both, give them the same ``purpose``, and say in ``verified`` what a right code opens.
Nothing personal stands in an address or in the session. ``docs/otp.md`` shows how it is done.
"""

import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.db.transaction import non_atomic_requests
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView

from instant_notifications import otp
from instant_notifications.exceptions import (
    Blocked,
    InvalidMessage,
    NotificationError,
    OutcomeUnknown,
    Rejected,
    TooManyRequests,
    Unavailable,
)
from instant_notifications.models import Delivery, primary
from instant_notifications.otp.forms import RequestCodeForm, VerifyCodeForm
from instant_notifications.otp.models import PURPOSE_LENGTH, Challenge
from instant_notifications.statuses import STAGES, Channel, Handover, Stage

SESSION_NAME: Final = "one-time code"

NOT_SENT: Final = _("The code could not be sent. Try again in a moment.")
NOT_TAKEN: Final = _("The code could not be sent. Check the number or the address, or use another.")
TOO_EARLY: Final = _("You can ask for a new code in {wait}.")

WHY_NOT_SENT: Final[Mapping[type[NotificationError], Promise]] = {
    TooManyRequests: TOO_EARLY,
    Blocked: NOT_TAKEN,
    InvalidMessage: NOT_TAKEN,
    Rejected: NOT_TAKEN,
    Unavailable: NOT_SENT,
    OutcomeUnknown: NOT_SENT,  # and what may arrive all the same is void
}
"""What a person is told. Anything else is a mistake of the host's, and not hidden here."""

FAILURES: Final = tuple(WHY_NOT_SENT)

WHY_NOT_RIGHT: Final[Mapping[otp.Reason, Promise]] = {
    otp.Reason.NOT_FOUND: _("This code is no longer valid. Ask for a new one."),
    otp.Reason.EXPIRED: _("This code is too old. Ask for a new one."),
    otp.Reason.TOO_MANY_ATTEMPTS: _("This code was tried too often. Ask for a new one."),
}
"""But for a wrong code, where it tells how often one may try again."""

IN_DOUBT: Final = _("It may take a moment.")
UNDELIVERED: Final = _(
    "The message could not be delivered. Check the number or the address, or use another."
)


@method_decorator(
    [never_cache, csrf_protect, sensitive_post_parameters()],  # as Django's own login
    name="dispatch",
)
class CodeView(FormView):  # type: ignore[type-arg]
    """What both pages share."""

    purpose = ""
    """What the code is good for, as in "login"; the same for both pages of a pair."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        if not 0 < len(initkwargs.get("purpose", cls.purpose)) <= PURPOSE_LENGTH:
            raise ImproperlyConfigured(
                f"{cls.__name__} needs a purpose, of at most {PURPOSE_LENGTH} characters."
            )
        # A code is reserved, sent and recorded in transactions of its own.
        view = non_atomic_requests(using=primary())(super().as_view(**initkwargs))
        return login_not_required(view)

    def asking(self) -> Mapping[str, Any]:
        """Who wants a code: for whom it is, and the address that the guard counts."""
        return {**self.whose(), "address": self.request.META.get("REMOTE_ADDR", "")}

    def whose(self) -> Mapping[str, Any]:
        """Whom a code is bound to: this session, and the user who is logged in, if any."""
        # Not the session's key: it changes at every login, and with sessions kept in cookies
        # at every answer.
        session = self.request.session.setdefault(SESSION_NAME, secrets.token_urlsafe())
        return {"user": getattr(self.request, "user", None), "session": session}

    @property
    def place(self) -> str:
        """Where the session keeps the id of the challenge."""
        return f"{SESSION_NAME} for {self.purpose}"

    def current(self) -> Challenge | None:
        """What this session is waiting for, if it has not ended."""
        kept = self.request.session.get(self.place)
        if kept is None:
            return None
        challenges = Challenge.objects.using(primary())
        return challenges.filter(pk=kept, state=Challenge.State.OPEN).first()

    def keep(self, challenge: Challenge) -> None:
        self.request.session[self.place] = str(challenge.pk)


class RequestCodeView(CodeView):
    """Asks for a number or an address, and sends a code there, whosever it is.

    Whether anybody is known by it is to be found out once the code is verified: who is told before
    may be a stranger. ``success_url`` is the page that asks for the code.
    """

    channel: str = Channel.SMS
    form_class = RequestCodeForm
    template_name = "instant_notifications/otp/request.html"

    def recipient(self, form: Form) -> str:
        """Whom to send it to. Where that is known, ``form_class`` may be an empty form."""
        recipient: str = form.cleaned_data["recipient"]
        return recipient

    def get_form_kwargs(self) -> dict[str, Any]:
        asks = issubclass(self.get_form_class(), RequestCodeForm)
        return super().get_form_kwargs() | ({"channel": self.channel} if asks else {})

    @method_decorator(sensitive_variables())
    def form_valid(self, form: Form) -> HttpResponse:
        recipient = self.recipient(form)
        waiting = self.current()
        try:
            challenge = otp.issue(
                recipient, purpose=self.purpose, channel=self.channel, **self.asking()
            )
        except FAILURES as error:
            if isinstance(error, TooManyRequests) and waiting and waiting.destination == recipient:
                return super().form_valid(form)  # asked twice: the code is on its way
            form.add_error(None, in_words(error))
            return self.form_invalid(form)
        self.keep(challenge)
        return super().form_valid(form)


class VerifyCodeView(CodeView):
    """Asks for the code, and sends a new one to the same recipient on demand.

    ``request_url`` is the page that asks where to send it, ``success_url`` the one that a right
    code leads to: nothing in the request can change them.
    """

    request_url: str | Promise = ""
    form_class = VerifyCodeForm
    template_name = "instant_notifications/otp/verify.html"

    def verified(self, challenge: Challenge) -> None:
        """Somebody has the code that was sent to ``challenge.destination``. Say what it opens."""

    @cached_property
    def challenge(self) -> Challenge | None:
        return self.current()

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().get(request, *args, **kwargs) if self.challenge else self.start_again()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self.challenge is None:
            return self.start_again()
        if "resend" in request.POST:
            return self.resend(self.challenge)
        return super().post(request, *args, **kwargs)

    def start_again(self) -> HttpResponse:
        return HttpResponseRedirect(str(self.request_url))

    def resend(self, challenge: Challenge) -> HttpResponse:
        try:
            newer = otp.resend(challenge.pk, purpose=self.purpose, **self.asking())
        except otp.Unknown:
            return self.start_again()
        except FAILURES as error:
            form = self.get_form_class()()
            return self.shown(form, notice=in_words(error), is_over=self.current() is None)
        self.keep(newer)
        return HttpResponseRedirect(self.request.get_full_path())

    @method_decorator(sensitive_variables())
    def form_valid(self, form: Form) -> HttpResponse:
        challenge = self.challenge
        assert challenge is not None  # noqa: S101 (post has seen to it)
        code = form.cleaned_data["code"]
        result = otp.verify(challenge.pk, code, purpose=self.purpose, **self.whose())
        if not result.verified:
            form.add_error("code", why_not(result))
            return self.shown(form, is_over=self.current() is None)
        del self.request.session[self.place]
        self.request.session.cycle_key()  # what was planted in it before opens nothing
        self.verified(challenge)
        return super().form_valid(form)

    def shown(self, form: Form, **context: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form, **context))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        challenge = self.challenge
        assert challenge is not None  # noqa: S101 (get and post have seen to it)
        left = int((challenge.resend_available_at - timezone.now()).total_seconds())
        return super().get_context_data(
            destination=challenge.masked_destination,
            news=news_of(challenge.delivery),
            wait=str(TOO_EARLY).format(wait=duration(left)) if left > 0 else "",
            request_url=self.request_url,
            **kwargs,
        )


def in_words(error: NotificationError) -> str:
    text = next(text for kind, text in WHY_NOT_SENT.items() if isinstance(error, kind))
    return str(text).format(wait=duration(getattr(error, "retry_after", None) or 0))


def why_not(result: otp.Result) -> str:
    if result.reason in WHY_NOT_RIGHT:
        return str(WHY_NOT_RIGHT[result.reason])
    return ngettext(
        "This is not the code. You can try {left} more time.",
        "This is not the code. You can try {left} more times.",
        result.attempts_left,
    ).format(left=result.attempts_left)


def news_of(delivery: Delivery | None) -> str:
    """What there is to say about a message that is awaited."""
    if delivery is None:
        return ""
    if STAGES[delivery.status] is Stage.FAILED:
        return str(UNDELIVERED)
    return str(IN_DOUBT) if delivery.handover == Handover.UNKNOWN else ""


def duration(seconds: int) -> str:
    """In words, rounded up: nobody shall come too early because of them."""
    if seconds < 2 * 60:
        return ngettext("{n} second", "{n} seconds", seconds).format(n=seconds)
    minutes = -(-seconds // 60)
    if minutes < 2 * 60:
        return ngettext("{n} minute", "{n} minutes", minutes).format(n=minutes)
    hours = -(-minutes // 60)
    return ngettext("{n} hour", "{n} hours", hours).format(n=hours)
