"""A person opens the API's own page, authorises with a token, and sends."""

from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.wait import WebDriverWait

from instant_notifications import tokens
from instant_notifications.simulator.models import SimulatedMessage
from tests.conftest import API

pytest.importorskip("drf_spectacular", reason="the extra `openapi` is not installed")


@pytest.mark.django_db(transaction=True)
def test_a_token_and_two_clicks_send_an_sms(browser: Chrome, live_server: Any) -> None:
    wait = WebDriverWait(browser, 30)

    def click(selector: str) -> None:
        wait.until(expect.element_to_be_clickable((By.CSS_SELECTOR, selector))).click()

    browser.get(f"{live_server.url}{API}schema/swagger/")
    click(".auth-wrapper .authorize")
    field = wait.until(
        expect.visibility_of_element_located((By.CSS_SELECTOR, ".auth-container input"))
    )
    field.send_keys(tokens.issue("ttd"))
    click(".auth-btn-wrapper .authorize")
    click(".auth-btn-wrapper .btn-done")
    click('[id$="sendSms"] .opblock-summary-control')
    click('[id$="sendSms"] .try-out__btn')
    click('[id$="sendSms"] .execute')
    status = wait.until(
        expect.visibility_of_element_located(
            (By.CSS_SELECTOR, '[id$="sendSms"] .live-responses-table tbody .response-col_status')
        )
    )
    wait.until(lambda _: "201" in status.text)
    message = SimulatedMessage.objects.get()
    assert (message.destination, message.body) == ("+4799999999", "Your code is 123456")
