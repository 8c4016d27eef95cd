"""An operator at night: find the message, read what became of it, switch the gateway off."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.wait import WebDriverWait

from instant_notifications.exceptions import Unavailable
from instant_notifications.orders import send_sms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def console(browser: Chrome, live_server: Any) -> Chrome:
    """Logged in, at the list of shipments."""
    User.objects.create_superuser("ola", password="sesame")
    browser.get(live_server.url + reverse("admin:instant_notifications_shipment_changelist"))
    browser.find_element(By.NAME, "username").send_keys("ola")
    browser.find_element(By.NAME, "password").send_keys("sesame", Keys.ENTER)
    WebDriverWait(browser, 30).until(expect.presence_of_element_located((By.NAME, "term")))
    return browser


def find(console: Chrome, term: str) -> None:
    field = console.find_element(By.NAME, "term")
    field.send_keys(term, Keys.ENTER)
    WebDriverWait(console, 30).until(expect.staleness_of(field))


def text_of(console: Chrome) -> str:
    return console.find_element(By.ID, "content").text


def test_one_search_leads_to_the_message(console: Chrome) -> None:
    send_sms("+4799999967", "another")
    sent = send_sms("+4799999966", "It is 428516")
    find(console, "999 99 966")
    assert "Nothing is known by this." in text_of(console)
    find(console, "+47 999 99 966")
    assert console.current_url.endswith(f"/{sent.shipment_id}/change/")
    told = text_of(console)
    assert "SMS_Sending → SMS_Accepted" in told
    assert "+47 ** ** ** 66" in told
    for secret in ("99999966", "428516"):
        assert secret not in console.page_source + console.current_url


def test_a_gateway_is_switched_off_and_on(console: Chrome, live_server: Any) -> None:
    console.get(live_server.url + reverse("admin:instant_notifications_gatewaystate_changelist"))
    console.find_element(By.NAME, "because").send_keys("the invoice", Keys.ENTER)
    press_on = (By.CSS_SELECTOR, "input[value='Switch on']")
    WebDriverWait(console, 30).until(expect.element_to_be_clickable(press_on))
    assert "by ola: the invoice" in text_of(console)
    with pytest.raises(Unavailable, match="switched off"):
        send_sms("+4799999966", "It is 428516")
    console.find_element(*press_on).click()
    WebDriverWait(console, 30).until_not(expect.presence_of_element_located(press_on))
    assert send_sms("+4799999966", "It is 428516").status == "SMS_Accepted"
