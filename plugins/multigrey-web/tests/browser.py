"""A real Chromium, unpacked from Debian and driven over WebDriver; nothing is installed."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.debian import library_path, unpack_or_skip

FLAGS = (
    "--headless",
    "--hide-scrollbars",  # a picture of the whole page has none, and is laid out anew without them
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)


@contextlib.contextmanager
def chromium():
    """A browser with a profile of its own."""
    root = unpack_or_skip("chromium", "chromium", "chromium-common", "chromium-driver", "fonts-dejavu-core")
    with tempfile.TemporaryDirectory(prefix="mg-web-", ignore_cleanup_errors=True) as directory:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": directory,
            "TMPDIR": directory,
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": library_path(root),
            **_fonts(root, Path(directory)),
        }
        options = Options()
        options.binary_location = str(root / "usr/lib/chromium/chromium")
        for flag in (*FLAGS, f"--user-data-dir={directory}/profile"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(str(root / "usr/bin/chromedriver"), env=environment)
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()


def _fonts(root, directory):
    """Where the fonts are, for a machine that has none."""
    if Path("/etc/fonts/fonts.conf").exists():
        return {}
    config = directory / "fonts.conf"
    config.write_text(
        f"<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{directory}/fonts</cachedir></fontconfig>"
    )
    return {"FONTCONFIG_FILE": str(config)}


class Browser:
    """What tests do with it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, *, width=1200, height=900, dark=False, scripts=True):
        """Load a page into a window of this size."""
        self._tell("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width, height)
        self.scheme("dark" if dark else "light")
        self.forget()
        self.driver.get(url)

    def forget(self):
        """What was logged up to now."""
        self.driver.get_log("browser")
        self.driver.get_log("performance")

    def run(self, script, *arguments):
        """What a script returns, in the page."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self):
        """What the console has: errors, and what the page's policy forbade."""
        entries = [entry["message"] for entry in self.driver.get_log("browser")]
        return [text for text in entries if "willReadFrequently" not in text]  # said of our own looking

    def requested(self):
        """Everything that was fetched or tried, by address."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def press(self, key):
        """One key, to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(key)

    def screenshot(self, path, *, top=0, height=6000):
        """The page, or a stretch of it, as a picture."""
        size = self._tell("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"] - top, height)
        clip = {"x": 0, "y": top, "width": size["width"], "height": height, "scale": 1}
        shot = self._tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def scheme(self, name):
        """Whether the reader likes it light or dark."""
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def resize(self, width, height=900):
        """Another size of the window."""
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def reload(self):
        """The same page again."""
        self.driver.refresh()

    def click(self, text, *, part=False):
        """The first link of this text in the page, else anywhere."""
        self.driver.find_element(By.PARTIAL_LINK_TEXT if part else By.LINK_TEXT, text).click()

    def type(self, name, text):
        """Text into a field by its id."""
        self.driver.find_element(By.ID, name).send_keys(text)

    def click_button(self, name):
        """A button by its id."""
        self.driver.find_element(By.ID, name).click()

    def _tell(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)
