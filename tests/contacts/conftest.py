import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contacts.registers import SECRETS, StubRegister


@pytest.fixture(autouse=True)
def _nobody_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    said = [f"{each.getMessage()} {each.exc_text}" for each in caplog.get_records("call")]
    assert not [line for line in said if any(secret in line for secret in SECRETS)]


@pytest.fixture
def stub(configure: Callable[..., None]) -> Iterator[type[StubRegister]]:
    """The register answers what ``stub.do`` says."""
    configure(CONTACT_REGISTER={"BACKEND": "tests.contacts.registers.StubRegister"})
    StubRegister.do = staticmethod(lambda identities: {})
    yield StubRegister
    StubRegister.asked.clear()


@pytest.fixture
def known(stub: type[StubRegister]) -> Callable[[Any], None]:
    """Let the register know this and nothing else."""

    def know(contacts: Any) -> None:
        stub.do = staticmethod(lambda identities: contacts)

    return know
