"""``manage.py issue_token --org ttd``: a bearer token signed with the project's own key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from instant_notifications import tokens
from instant_notifications.exceptions import NotConfigured


class Command(BaseCommand):
    help = "Prints a bearer token (JWT) for the API, and nothing else."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--org", required=True, help="the organisation it speaks for, e.g. ttd")
        parser.add_argument("--scope", default=tokens.SCOPE, help="space separated scopes")
        parser.add_argument("--expires-in", type=int, default=3600, help="seconds it is good for")

    def handle(self, *, org: str, scope: str, expires_in: int, **options: Any) -> None:  # noqa: ARG002
        if not org.strip():
            raise CommandError("--org must not be blank.")
        if expires_in <= 0:
            raise CommandError("--expires-in must be at least 1.")
        try:
            token = tokens.issue(org, scope=scope, expires_in=expires_in)
        except NotConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(token)
