"""A person at the console, who reads what is shown and uses what has a name."""

import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from django.urls import reverse
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PICTURES: Final = Path(
    os.environ.get("SCREENSHOTS") or Path(__file__).parents[2] / ".artifacts" / "screenshots"
)
BUTTONS: Final = "button, input[type=submit]"
LOOK: Final = """
const look = getComputedStyle(arguments[0]);
const told = [look.outline, look.border, look.boxShadow, look.textDecoration, look.background];
arguments[0].blur();
return told.join();
"""
FIELDS: Final = "textarea, select, input:not([type=hidden], [type=submit])"


class Operator:
    def __init__(self, chrome: Chrome, root: str, requests: list[str]) -> None:
        self.chrome = chrome
        self.root = root
        self.requests = requests
        """All that has been asked of the server."""
        self.wait = WebDriverWait(chrome, 30, ignored_exceptions=[WebDriverException])
        """While a page gives way to the next, the driver may fail in ways of its own."""
        self.look_at_width(1200)

    def take(self, session: str) -> None:
        """Be logged in."""
        self._do("Network.setCookie", name="sessionid", value=session, url=self.root)

    def open(self, page: str, *args: object) -> None:
        self.chrome.get(self.root + reverse(f"admin:instant_notifications_{page}", args=args))

    @property
    def text(self) -> str:
        return self.chrome.find_element(By.ID, "container").text

    def sees(self, *texts: str) -> None:
        """Waits for it: what happens without a new page takes a while."""
        try:
            self.wait.until(lambda _: all(text in self.text for text in texts))
        except TimeoutException:
            assert [text for text in texts if text not in self.text] == [], self.text

    def field(self, name: str) -> WebElement:
        return self._named(FIELDS, name)

    def fill(self, name: str, text: str) -> None:
        field = self.field(name)
        field.clear()
        field.send_keys(text)

    def insert(self, name: str, text: str) -> None:
        """As by an input method: the driver has no keys for characters beyond the first plane."""
        self.field(name).send_keys(Keys.END)
        self._do("Input.insertText", text=text)

    def tick_all(self) -> None:
        for box in self.elements(".action-select"):
            box.click()

    def run(self, action: str) -> None:
        """From the menu of a list, whose button is called ``Go`` or, in later Djangos, ``Run``."""
        menu = self.field("Action:")
        menu.find_element(By.XPATH, f".//option[normalize-space()='{action}']").click()
        [button] = self.elements("button[name=index]")
        self._to_the_next_page(button.click)

    def button(self, name: str) -> WebElement:
        return self._named(BUTTONS, name)

    def press(self, name: str) -> None:
        self._to_the_next_page(self.button(name).click)

    def double_click(self, name: str) -> None:
        """As slow as a person's: the first click is on its way when the second one comes."""
        clicks = ActionChains(self.chrome).click(self.button(name)).pause(0.2).click()
        self._to_the_next_page(clicks.perform)

    def enter(self) -> None:
        self._to_the_next_page(lambda: self.keys(Keys.ENTER))

    def keys(self, *keys: str) -> None:
        ActionChains(self.chrome).send_keys(*keys).perform()

    def follow(self, link: str) -> None:
        self._to_the_next_page(self.chrome.find_element(By.LINK_TEXT, link).click)

    def elements(self, selector: str) -> Sequence[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def tab_to(self, name: str) -> None:
        """From where one is, with the Tab key alone."""
        passed = []
        while name not in passed:
            assert len(passed) < 100, f"{name!r} is none of {passed}"
            self.keys(Keys.TAB)
            passed.append(self.chrome.switch_to.active_element.accessible_name)

    def focus_is_visible(self) -> bool:
        """Whether what has the focus looks different from what has not."""
        element = self.chrome.switch_to.active_element
        focused, blurred = (self.chrome.execute_script(LOOK, element) for _ in range(2))
        self.chrome.execute_script("arguments[0].focus()", element)
        return bool(focused != blurred)

    def without_scripts(self) -> None:
        self._do("Emulation.setScriptExecutionDisabled", value=True)

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._do("Emulation.setEmulatedMedia", features=[feature])

    def look_at_width(self, width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._do("Emulation.setDeviceMetricsOverride", **size)

    def receive_files_in(self, folder: Path) -> None:
        self._do("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def take_picture(self, name: str, highest: int = 2400) -> None:
        """Of the page, also of what one would have to scroll to."""
        picture = PICTURES / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        size = self._do("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"], highest)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        shot = self._do("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        picture.write_bytes(b64decode(shot["data"]))

    def history(self) -> str:
        """What the browser remembers of where it has been, and shows in its bar."""
        return str(self._do("Page.getNavigationHistory"))

    def complaints(self) -> Sequence[str]:
        """What the browser has not found, has not allowed, or could not run."""
        said = [each["message"] for each in self.chrome.get_log("browser")]
        return [each for each in said if "/favicon.ico" not in each]

    def _named(self, selector: str, name: str) -> WebElement:
        found = [each for each in self.elements(selector) if each.is_displayed()]
        names = [each.accessible_name for each in found]
        assert name in names, f"{name!r} is none of {names}"
        return found[names.index(name)]

    def _to_the_next_page(self, act: Any) -> None:
        here = self._page()
        act()
        self.wait.until(lambda _: self._page() != here and self._is_complete())

    def _is_complete(self) -> bool:
        """With its styles; what is written can be read before."""
        return bool(self.chrome.execute_script("return document.readyState") == "complete")

    def _page(self) -> str:
        """What this load of the page is called, also if it is of the same address as before."""
        return str(self._do("Page.getFrameTree")["frameTree"]["frame"]["loaderId"])

    def _do(self, command: str, **parameters: Any) -> Any:
        return self.chrome.execute_cdp_cmd(command, parameters)
