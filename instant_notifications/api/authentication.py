"""Who is calling, and whether they may: decided before the body is looked at."""

import logging

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from instant_notifications import tokens

logger = logging.getLogger("instant_notifications.api")


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer <JWT>``; ``request.auth`` is the ``tokens.Caller``."""

    def authenticate(self, request: Request) -> tuple[tokens.Caller, tokens.Caller] | None:
        scheme, _, token = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        try:
            caller = tokens.read(token.strip().decode("ascii"))
        except (tokens.InvalidToken, UnicodeDecodeError) as error:
            logger.info(
                "token refused reason=%s", error if isinstance(error, tokens.InvalidToken) else ""
            )
            raise AuthenticationFailed("The bearer token is not valid.") from None
        return caller, caller

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return "Bearer"


def creator_of(request: Request) -> str:
    """The organisation that the token speaks for; nothing else in a request can name one."""
    caller: tokens.Caller = request.auth  # type: ignore[assignment]
    return caller.organisation


class MayCreateNotifications(BasePermission):
    """The token names an organisation and carries the scope."""

    message = f"The token needs the scope {tokens.SCOPE} and an organisation."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        caller = request.auth
        return (
            isinstance(caller, tokens.Caller)
            and bool(caller.organisation)
            and tokens.SCOPE in caller.scopes
        )
