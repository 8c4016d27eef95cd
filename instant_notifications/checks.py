"""System checks: what is wrong with the settings, said before the first message is lost."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.db import connections

from instant_notifications import contacts, guard, tokens
from instant_notifications.conf import SETTINGS, SETTINGS_NAME, settings, written
from instant_notifications.exceptions import NotConfigured
from instant_notifications.gateways import gateway_class, gateways
from instant_notifications.models import IdempotencyRecord, primary
from instant_notifications.models.orders import ALIAS_LENGTH
from instant_notifications.statuses import Channel

PREFIX = "instant_notifications"


@register(PREFIX)
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    misspelt = list(_misspelt())
    # What follows reads the values; with unusable ones it would only repeat itself.
    return misspelt or [*_routes(), *_sandbox(), *_gateways(), *_register(), *_issuers()]


def _misspelt() -> Iterator[CheckMessage]:
    if not isinstance(getattr(django_settings, SETTINGS_NAME, {}), Mapping):
        yield Error(
            f"{SETTINGS_NAME} is not a dict.",
            hint=f"Write {SETTINGS_NAME} = {{…}}, or leave it out.",
            id=f"{PREFIX}.E002",
        )
    for name, value in written().items():
        if name not in SETTINGS:
            yield Error(
                f"{SETTINGS_NAME} has no setting {name!r}.",
                hint=f"The settings are {', '.join(sorted(SETTINGS))}.",
                id=f"{PREFIX}.E001",
            )
        elif not SETTINGS[name].accepts(value):
            yield Error(
                f"{SETTINGS_NAME}[{name!r}] has a value that makes no sense.",
                hint=SETTINGS[name].meaning,
                id=f"{PREFIX}.E002",
            )


def _routes() -> Iterator[CheckMessage]:
    for channel, aliases in settings.ROUTES.items():
        if channel not in list(Channel):
            yield Error(
                f"{SETTINGS_NAME}['ROUTES'] names an unknown channel {channel!r}.",
                hint=f"The channels are {', '.join(Channel)}.",
                id=f"{PREFIX}.E003",
            )
            continue
        for alias in aliases:
            yield from _carrier(f"The route of {channel}", Channel(channel), alias)


def _carrier(named_by: str, channel: Channel, alias: str) -> Iterator[CheckMessage]:
    if alias not in settings.GATEWAYS:
        yield Error(
            f"{named_by} names an unknown gateway {alias!r}.",
            hint=f"Add it to {SETTINGS_NAME}['GATEWAYS'], which has: "
            f"{', '.join(sorted(settings.GATEWAYS)) or 'none'}.",
            id=f"{PREFIX}.E004",
        )
        return
    try:
        carries = gateway_class(alias, settings.GATEWAYS[alias]).channels
    except NotConfigured:
        return  # said once, by _gateways
    if channel not in carries:
        yield Error(
            f"The gateway {alias!r} cannot carry {channel}.",
            hint=f"It carries {', '.join(sorted(carries))}.",
            id=f"{PREFIX}.E005",
        )


def _sandbox() -> Iterator[CheckMessage]:
    if settings.SANDBOX_RECIPIENTS is None:
        return
    for channel, aliases in settings.ROUTES.items():
        if aliases and channel in list(Channel):
            yield from _carrier("SANDBOX_GATEWAY", Channel(channel), settings.SANDBOX_GATEWAY)


def _gateways() -> Iterator[CheckMessage]:
    for alias in settings.GATEWAYS:
        if len(alias) > ALIAS_LENGTH:
            yield Error(
                f"The gateway alias {alias!r} is too long.",
                hint=f"Use at most {ALIAS_LENGTH} characters.",
                id=f"{PREFIX}.E006",
            )
        try:
            yield from gateways.create(alias).check()
        except NotConfigured as error:
            yield Error(
                str(error), hint=f"See {SETTINGS_NAME}['GATEWAYS'][{alias!r}].", id=f"{PREFIX}.E006"
            )


def _register() -> Iterator[CheckMessage]:
    try:
        yield from contacts.new_register().check()
    except NotConfigured as error:
        yield Error(
            str(error), hint=f"See {SETTINGS_NAME}['CONTACT_REGISTER'].", id=f"{PREFIX}.E011"
        )


def _issuers() -> Iterator[CheckMessage]:
    key = settings.TOKEN_SIGNING_KEY
    if key and len(key.encode()) < tokens.MIN_SECRET_BYTES:
        yield Error(
            f"{SETTINGS_NAME}['TOKEN_SIGNING_KEY'] is too short to be a secret.",
            hint=f"Use at least {tokens.MIN_SECRET_BYTES} random bytes.",
            id=f"{PREFIX}.E007",
        )
    for configured in settings.TOKEN_ISSUERS:
        try:
            tokens.issuer_from(configured).check()
        except NotConfigured as error:
            yield Error(
                f"{SETTINGS_NAME}['TOKEN_ISSUERS']: {error}",
                hint=SETTINGS["TOKEN_ISSUERS"].meaning,
                id=f"{PREFIX}.E008",
            )


@register(Tags.database)
def check_database(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001
    databases: Collection[str] | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> list[CheckMessage]:
    alias = primary()
    if alias not in (databases or ()) or connections[alias].vendor != "mysql":
        return []
    collation = _collation_of_ids(alias)
    if collation.endswith(_EXACT_COLLATIONS):
        return []
    return [
        Error(
            f"The collation {collation} takes idempotency ids for equal that differ in case or in "
            "blanks at the end.",
            hint="Use utf8mb4_nopad_bin (MariaDB) or utf8mb4_0900_bin (MySQL) for the database.",
            id=f"{PREFIX}.E009",
        )
    ]


_EXACT_COLLATIONS: Final = ("_nopad_bin", "_0900_bin")


def _collation_of_ids(alias: str) -> str:
    """The column's, or, before there is one, the database's."""
    key = IdempotencyRecord._meta.get_field("key")
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE((SELECT collation_name FROM information_schema.columns WHERE "
            "table_schema = DATABASE() AND table_name = %s AND column_name = %s), "
            "@@collation_database)",
            [IdempotencyRecord._meta.db_table, key.column],
        )
        return str(cursor.fetchone()[0])


@register(PREFIX, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    if any(_misspelt()):
        return []  # check_settings tells
    return [
        Warning(message, hint=hint, id=f"{PREFIX}.{number}")
        for number, holds, message, hint in _DEPLOYMENT_RISKS
        if holds()
    ]


def _simulator_in_a_route() -> bool:
    backends = [
        str(settings.GATEWAYS.get(alias, {}).get("BACKEND", ""))
        for aliases in settings.ROUTES.values()
        for alias in aliases
    ]
    return any(backend.startswith("instant_notifications.simulator.") for backend in backends)


def _codes_to_all_the_world() -> bool:
    return apps.is_installed(f"{PREFIX}.otp") and guard.countries.countries() is None


def _default_secrets() -> bool:
    secrets = [
        str(django_settings.SECRET_KEY),
        settings.TOKEN_SIGNING_KEY,
        *settings.ENCRYPTION_KEYS,
        *(str(issuer.get("KEY", "")) for issuer in settings.TOKEN_ISSUERS),
    ]
    return any("insecure" in secret for secret in secrets)


def _sqlite_with_deferred_transactions() -> bool:
    database = connections[primary()]
    options = database.settings_dict.get("OPTIONS", {})
    mode = str(options.get("transaction_mode")).upper()
    return database.vendor == "sqlite" and mode not in {"IMMEDIATE", "EXCLUSIVE"}


_READ_COMMITTED: Final = {
    "postgresql": (None, 1, 2),  # psycopg's numbers; none is the server's, as Django takes it
    "mysql": ("read committed", "read uncommitted"),
}


def _isolation_that_hides_commits() -> bool:
    database = connections[primary()]
    default = "read committed" if database.vendor == "mysql" else None
    level = database.settings_dict.get("OPTIONS", {}).get("isolation_level", default)
    known = level.lower() if isinstance(level, str) else level
    return database.vendor in _READ_COMMITTED and known not in _READ_COMMITTED[database.vendor]


_DEPLOYMENT_RISKS: Iterable[tuple[str, Callable[[], bool], str, str]] = (
    (
        "W001",
        lambda: not (settings.TOKEN_SIGNING_KEY or settings.TOKEN_ISSUERS),
        "No token is accepted, so nobody can call the API.",
        f"Set {SETTINGS_NAME}['TOKEN_ISSUERS'] or ['TOKEN_SIGNING_KEY'], or silence this.",
    ),
    (
        "W002",
        _simulator_in_a_route,
        "A route leads to the simulator: its messages reach nobody.",
        "Put a real gateway into the route.",
    ),
    (
        "W003",
        _default_secrets,
        "A secret still has a value meant for development.",
        'Replace every secret that contains "insecure".',
    ),
    (
        "W004",
        lambda: not settings.ENCRYPTION_KEYS,
        "Stored data is encrypted with SECRET_KEY: replaced without a fallback, it is lost.",
        f"Set {SETTINGS_NAME}['ENCRYPTION_KEYS'] to a secret of its own.",
    ),
    (
        "W005",
        lambda: not any(settings.ROUTES.values()),
        "No channel has a gateway, so nothing can be sent.",
        f"List gateways in {SETTINGS_NAME}['ROUTES'].",
    ),
    (
        "W006",
        _sqlite_with_deferred_transactions,
        "SQLite begins transactions DEFERRED, so parallel writers fail instead of waiting.",
        "Set the database's OPTIONS['transaction_mode'] to 'IMMEDIATE'.",
    ),
    (
        "W007",
        _isolation_that_hides_commits,
        "Transactions do not see what others commit meanwhile: statuses and feed entries get lost.",
        "Leave the database's OPTIONS['isolation_level'] at Django's default, READ COMMITTED.",
    ),
    (
        "W010",
        lambda: settings.SANDBOX_RECIPIENTS is not None,
        "Sandbox mode is on: only the recipients it lists get real messages.",
        "Leave SANDBOX_RECIPIENTS out where everybody shall get theirs.",
    ),
    (
        "W011",
        _codes_to_all_the_world,
        "One-time codes go to every country: whoever earns by such traffic can ask for it.",
        f"Set {SETTINGS_NAME}['OTP_COUNTRIES'], or PHONENUMBER_DEFAULT_REGION.",
    ),
)
