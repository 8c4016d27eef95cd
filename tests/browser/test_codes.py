"""A person types a number, gets a code, and types it: without scripts, with them, by keyboard."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from django.http import HttpRequest, HttpResponseBase
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.wait import WebDriverWait

from instant_notifications.simulator.models import SimulatedMessage
from tests.browser.operator import Operator
from tests.otp.test_challenges import wrong

pytestmark = pytest.mark.django_db(transaction=True)

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def strict(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Middleware: the policy that the pages promise to work under."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        answer = get_response(request)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    return middleware


@pytest.fixture
def asked(browser: Chrome, live_server: Any, settings: Any) -> Chrome:
    """A number is typed; the page asks for the code."""
    settings.MIDDLEWARE = ["tests.browser.test_codes.strict", *settings.MIDDLEWARE]
    browser.get(f"{live_server.url}/codes/")
    browser.find_element(By.NAME, "recipient").send_keys("+47 999 99 999", Keys.ENTER)
    WebDriverWait(browser, 30).until(expect.presence_of_element_located((By.NAME, "code")))
    return browser


def sent_code() -> str:
    """As it stands on the phone."""
    message = SimulatedMessage.objects.latest("pk")
    return "".join(filter(str.isdigit, message.body.split(".")[0]))


def until_verified(browser: Chrome) -> None:
    WebDriverWait(browser, 30).until(expect.url_matches("/codes/done/$"))
    assert "+47 ** ** ** 99 is yours" in browser.page_source


def test_a_code_is_typed_where_the_cursor_already_is(asked: Chrome) -> None:
    code = sent_code()
    asked.switch_to.active_element.send_keys(f"{code[:3]} {code[3:]}", Keys.ENTER)
    until_verified(asked)


def test_it_works_without_scripts(asked: Chrome) -> None:
    asked.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    asked.refresh()
    code = sent_code()
    asked.find_element(By.NAME, "code").send_keys(wrong(code), Keys.ENTER)
    error = (By.ID, "id_code_error")
    WebDriverWait(asked, 30).until(expect.text_to_be_present_in_element(error, "2 more times"))
    field = asked.find_element(By.NAME, "code")
    assert field.get_dom_attribute("value") is None
    assert "id_code_error" in str(field.get_dom_attribute("aria-describedby"))
    field.send_keys(code, Keys.ENTER)
    until_verified(asked)


def test_letters_do_not_cost_an_attempt(asked: Chrome) -> None:
    field = asked.find_element(By.NAME, "code")
    field.send_keys("abc", Keys.ENTER)
    assert asked.execute_script("return arguments[0].validity.patternMismatch", field)
    field.clear()
    code = sent_code()
    full_width = "".join(chr(0xFF10 + int(digit)) for digit in code)
    field.send_keys(f"{full_width[:3]}\u2013{full_width[3:]}", Keys.ENTER)
    until_verified(asked)


def test_a_new_code_has_to_wait(asked: Chrome) -> None:
    asked.find_element(By.NAME, "resend").click()
    alert = (By.CSS_SELECTOR, "[role=alert]")
    told = "You can ask for a new code in"
    WebDriverWait(asked, 30).until(expect.text_to_be_present_in_element(alert, told))
    asked.find_element(By.NAME, "code").send_keys(sent_code(), Keys.ENTER)
    until_verified(asked)


def test_a_browser_that_reads_the_sms_fills_the_code_in(asked: Chrome) -> None:
    reads = (
        "window.OTPCredential = class {};"
        f"navigator.credentials.get = async () => ({{code: '{sent_code()}'}});"
    )
    added = asked.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": reads})
    try:
        asked.refresh()
        until_verified(asked)
    finally:
        asked.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_second_click_is_not_sent(asked: Chrome) -> None:
    sent = asked.execute_script(
        """
        const form = document.querySelector("[name=code]").form;
        const sent = [];
        form.addEventListener("submit", (event) => {
          sent.push(!event.defaultPrevented);
          event.preventDefault();
        });
        document.querySelector("[name=code]").value = "428516";
        form.requestSubmit();
        form.requestSubmit();
        return sent;
        """
    )
    assert sent == [True, False]


def test_the_page_is_styled_under_the_strict_policy(asked: Chrome, live_server: Any) -> None:
    width = asked.find_element(By.TAG_NAME, "main").value_of_css_property("max-width")
    assert width == "384px"
    visitor = Operator(asked, live_server.url, [])
    visitor.look_at_width(480)
    visitor.take_picture("docs/codes", 560)
