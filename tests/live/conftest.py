from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import smtp
from tests.live import harness
from tests.live.harness import LIVE, SECRET_KEY, Database, Service, manage
from tests.smtp import MailServer

Serve = Callable[..., Service]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with harness.migrated_database(tmp_path_factory.mktemp("template")) as made:
        yield made


@pytest.fixture(scope="session")
def token(template: Database) -> str:
    return manage("issue_token", "--org", "ttd", DATABASE_URL=template.url, SECRET_KEY=SECRET_KEY)


@pytest.fixture
def database(template: Database, tmp_path: Path) -> Iterator[Database]:
    with harness.copy_of(template, tmp_path) as made:
        yield made


@pytest.fixture
def window(database: Database, django_db_blocker: Any) -> Iterator[str]:
    """The alias by which this process looks into the database of the others."""
    with django_db_blocker.unblock(), harness.window(database, LIVE):
        yield LIVE


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with smtp.mail_server() as started:
        yield started


@pytest.fixture
def serve(database: Database, token: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the example project on the test's own database; it ends with the test."""
    services: list[Service] = []

    def start(command: Sequence[str], **environment: str) -> Service:
        log = tmp_path / f"service-{len(services)}.log"
        service = Service(command, database, token, log, **environment)
        services.append(service)
        service.start()
        return service

    yield start
    for service in services:
        service.kill()


@pytest.fixture
def by_mail(mail_server: MailServer) -> dict[str, str]:
    """The environment in which e-mail goes to the test's own mail server."""
    return {"EMAIL_ROUTE": "mail", "EMAIL_URL": mail_server.url}
