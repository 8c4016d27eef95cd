import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.browser.operator import Operator

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

# No sandbox: the tests may run as root. No background traffic: only loopback may be reached.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1200,1600",
)

CONSOLE: Final = Path(__file__).parents[2] / "docs" / "console.md"


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, live_server: Any) -> Any:
    """Started when the database is there.

    Before that SQLite's seems to be one in memory, and all threads would share its connection.
    """
    return live_server


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory, live_server: Any) -> Iterator[Chrome]:
    """One for all tests: to start it takes longer than most of them. It ends before the server."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    chrome = Chrome(options=options, service=Service(DRIVER))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    """As if it had just been installed."""
    chrome.get_log("browser")
    yield chrome
    chrome.get("about:blank")  # so that nothing is asked of a database that is being emptied
    for command, parameters in (
        ("Network.clearBrowserCookies", {}),
        ("Emulation.setScriptExecutionDisabled", {"value": False}),
        ("Emulation.setEmulatedMedia", {"features": []}),
        ("Emulation.clearDeviceMetricsOverride", {}),
    ):
        chrome.execute_cdp_cmd(command, parameters)


@pytest.fixture
def policy() -> str:
    """The strict Content-Security-Policy that the documentation promises to be enough."""
    found = re.search(r"default-src 'none';.*?frame-ancestors 'none'", CONSOLE.read_text(), re.S)
    assert found
    return " ".join(found[0].split())


@pytest.fixture
def requests(live_server: Any, policy: str) -> Iterator[list[str]]:
    """All that the browser asks for, and every answer comes with the policy."""
    server, noted = live_server.thread.httpd, []
    served = server.get_app()

    def under_the_policy(environ: dict[str, Any], start_response: Any) -> Any:
        noted.append(
            f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        )

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("Content-Security-Policy", policy)], *more)

        return served(environ, start)

    server.set_app(under_the_policy)
    yield noted
    server.set_app(served)


@pytest.fixture
def visitor(browser: Chrome, live_server: Any, requests: list[str]) -> Iterator[Operator]:
    """Somebody who has not logged in yet, in a browser that has nothing to complain about."""
    User.objects.create_superuser("ola", password="sesame")
    visitor = Operator(browser, live_server.url, requests)
    yield visitor
    assert visitor.complaints() == []


@pytest.fixture
def operator(visitor: Operator, client: Any) -> Operator:
    client.force_login(User.objects.get())
    visitor.take(client.cookies["sessionid"].value)
    return visitor
