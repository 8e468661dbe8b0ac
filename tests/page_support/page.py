"""The page in a browser, as its tests use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DESK = (1280, 800)
PHONE = (360, 740)
_WAIT_SECONDS = 20
_POLL_SECONDS = 0.03
_SEVERE = {"WARNING", "SEVERE"}

# Every element that the Tab key should reach, by something to tell it by.
_CONTROLS = """
const name = (e) => e.id || e.getAttribute("aria-label") || e.textContent.trim();
const found = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")];
return found.filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled
  && !(e.type === "radio" && !e.checked)).map(name);
"""
_FOCUSED = """
const e = document.activeElement;
const ring = [e, ...(e.labels ?? []), e.parentElement.querySelector(".handle")];
const visible = ring.filter(Boolean).some((part) => getComputedStyle(part).outlineStyle !== "none");
return [e.id || e.getAttribute("aria-label") || e.textContent.trim(), visible];
"""


@dataclass
class Page:
    """The page.

    Attributes:
        origin: Where it is served.
    """

    driver: Chrome
    origin: str

    def open(self, size: tuple[int, int] = DESK, *, dark: bool = False, language: str = "en-US"):
        """Open it as someone new would: nothing remembered."""
        width, height = size
        agent = self.driver.execute_script("return navigator.userAgent")
        for command, values in (
            ("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language}),
            (
                "Emulation.setEmulatedMedia",
                {
                    "features": [
                        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                        {"name": "prefers-reduced-motion", "value": "reduce"},
                    ]
                },
            ),
            (
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            ),
            ("Storage.clearDataForOrigin", {"origin": self.origin, "storageTypes": "all"}),
        ):
            self.driver.execute_cdp_cmd(command, values)
        self.console()
        self.requests()
        self.driver.get(f"{self.origin}/")
        return self

    def reload(self) -> None:
        self.driver.refresh()

    def by_id(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def click(self, name: str) -> None:
        self.click_on(self.by_id(name))

    def click_on(self, element: WebElement) -> None:
        """Click where a person would: out from below the button that stays at the bottom."""
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return self.by_id(name).text

    def shown(self, name: str) -> bool:
        return self.by_id(name).is_displayed()

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait_until(self, condition) -> Any:
        wait = WebDriverWait(self.driver, _WAIT_SECONDS, _POLL_SECONDS)
        return wait.until(lambda _: condition())

    def wait_for_state(self, state: str) -> None:
        self.wait_until(lambda: self.js("return document.body.dataset.state") == state)

    def choose_photo(self, path) -> None:
        """Give the file picker a file, as a person does who picked it there."""
        self.by_id("file").send_keys(str(path))

    def choose_workflow(self, name: str) -> None:
        self.wait_until(lambda: self.driver.find_elements(By.ID, f"workflow-{name}"))
        self.click(f"workflow-{name}")

    def set_parameter(self, name: str, value: object) -> None:
        entry = self.by_id(f"parameter-{name}")
        entry.clear()
        entry.send_keys(str(value))

    def run(self) -> None:
        self.click("run")

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_backwards(self) -> None:
        keys = ActionChains(self.driver).key_down(Keys.SHIFT)
        keys.send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    def focused(self) -> str:
        """Return what tells the element that the keyboard is on."""
        return self.js(_FOCUSED)[0]

    def focus_is_visible(self) -> bool:
        return self.js(_FOCUSED)[1]

    def controls(self) -> list[str]:
        """Return what tells each control that is shown."""
        return self.js(_CONTROLS)

    def tab_to(self, name: str) -> None:
        """Press Tab until the keyboard is on an element."""
        for _ in range(60):
            if self.focused() == name:
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab does not reach {name}")

    def console(self) -> list[str]:
        """Return the warnings and errors of the console since the last call."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] in _SEVERE]

    def requests(self) -> list[str]:
        """Return the addresses of every request since the last call."""
        events = (json.loads(entry["message"]) for entry in self.driver.get_log("performance"))
        return [
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        ]

    def download(self, folder: Path) -> Path:
        """Follow the download link and return the file, once it is whole."""
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
        )
        self.click("download")
        self.wait_until(lambda: [f for f in folder.iterdir() if f.suffix != ".crdownload"])
        (file,) = folder.iterdir()
        return file
