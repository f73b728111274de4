"""A headless Chromium, driven by ChromeDriver over the W3C WebDriver protocol: plain HTTP, so no library is needed."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1600,1000"),
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of a reference to an element


class Browser:
    """One session. Elements are named by XPath, and waited for."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to an address."""
        _ask(f"{self._session}/url", {"url": url})

    def wait(self, path: str, timeout_s: float = 60.0) -> str:
        """The text of the first element at an XPath, once there is one. Raises TimeoutError."""
        return self._text(self._find(path, timeout_s))

    def texts(self, path: str) -> list[str]:
        """The texts of all elements at an XPath, in the page's order."""
        return [self._text(each[_ELEMENT]) for each in self._all(path)]

    def click(self, path: str, timeout_s: float = 60.0) -> None:
        """Click the first element at an XPath, once it takes a click."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                _ask(f"{self._session}/element/{self._find(path, timeout_s)}/click", {})
                return
            except urllib.error.HTTPError:  # covered, or drawn anew
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(_ask(f"{self._session}/screenshot")))

    def _find(self, path: str, timeout_s: float) -> str:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if found := self._all(path):
                return str(found[0][_ELEMENT])
            time.sleep(0.3)
        raise TimeoutError(f"nothing at {path} within {timeout_s} s")

    def _all(self, path: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = _ask(f"{self._session}/elements", {"using": "xpath", "value": path})
        return found

    def _text(self, element: str) -> str:
        return str(_ask(f"{self._session}/element/{element}/text"))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with an empty ``profile`` folder."""
    assert CHROMIUM
    assert DRIVER
    port = free_port()
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(f"{base}/status")
        options = {"binary": CHROMIUM, "args": [*_SWITCHES, f"--user-data-dir={profile}"]}
        made = _ask(f"{base}/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        session = f"{base}/session/{made['sessionId']}"
        yield Browser(session)
        urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=30).close()
    finally:
        driver.terminate()
        driver.wait(30)


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(url: str, timeout_s: float = 120.0) -> None:
    """Until ``url`` answers. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"{url} does not answer")


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    payload = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, payload, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["value"]
