"""A real Chromium, driven over its own pipe: no driver, no port, no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--remote-debugging-pipe",
)
PATIENCE_S: Final = 60.0
"""How long anything may take before a test fails: much, for machines that are busy."""


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser said no, or nothing."""


class Chromium:
    """One browser process; a context."""

    def __init__(self) -> None:
        executable = find()
        assert executable is not None
        self._folder = tempfile.mkdtemp(prefix="fleetfit-browser-")
        read_ours, write_theirs = os.pipe()
        read_theirs, write_ours = os.pipe()
        wiring = f'exec "$@" 3<&{read_theirs} 4>&{write_theirs}'  # where the browser expects them
        browser = [executable, *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", wiring, "bash", *browser],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(read_theirs, write_theirs),
            start_new_session=True,
            env={**os.environ, "HOME": self._folder},
        )
        os.close(read_theirs)
        os.close(write_theirs)
        self._in, self._out = read_ours, write_ours
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.call("Browser.close")
        except (BrowserError, OSError):
            self._process.kill()
        self._process.wait(PATIENCE_S)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events meanwhile are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                found: dict[str, Any] = answer["result"]
                return found
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self._in, 1 << 16) if ready else b""
            if not chunk:
                raise BrowserError("the browser says nothing")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def page(self) -> Page:
        """Open a page."""
        return Page(self)


class Page:
    """One tab.

    Parameters
    ----------
    browser : Chromium
        Whose.
    """

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._target = target
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # whichever tab is in front

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self._browser.call(method, self._session, **params)

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def view(self, width: int, height: int, *, theme: str = "light", scale: float = 1.0) -> None:
        """Set the size of the window and the theme of the system."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        self.media("screen", theme)

    def media(self, kind: str, theme: str = "light") -> None:
        """Set the medium, ``screen`` or ``print``, and the theme; motion is off."""
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", media=kind, features=features)

    def open(self, where: Path | str, ready: str = "document.body.dataset.settled") -> None:
        """Load a file or an address and wait until `ready` is true there."""
        url = where.resolve().as_uri() if isinstance(where, Path) else where
        found = self.call("Page.navigate", url=url)
        if found.get("errorText"):
            raise BrowserError(f"{url}: {found['errorText']}")
        loaded = "document.readyState === 'complete' && location.href !== 'about:blank'"
        self.until(f"{loaded} && ({ready})")

    def run(self, script: str) -> Any:
        """Return the value of an expression; promises are awaited."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise BrowserError(f"{script[:80]}: {json.dumps(found['exceptionDetails'])[:600]}")
        return found["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait until an expression is true, and return it."""
        found = f"const found = {condition}; return found instanceof Node ? true : found"
        asked = f"(() => {{ try {{ {found}; }} catch {{ return null; }} }})()"
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(BrowserError):  # a page that is being left has no context
                if value := self.run(asked):
                    return value
                self.run("new Promise((done) => setTimeout(done, 15))")
        raise BrowserError(f"never became true: {condition}")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send a mouse event such as ``mousePressed``, ``mouseMoved`` or ``mouseWheel``."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Press at one place, move, and release at another; equal places are a click."""
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        if (x, y) != (to_x, to_y):
            self.mouse("mouseMoved", (x + to_x) / 2, (y + to_y) / 2, button="left", buttons=1)
            self.mouse("mouseMoved", to_x, to_y, button="left", buttons=1)
        self.mouse("mouseReleased", to_x, to_y, button="left", clickCount=1)

    def key(self, name: str) -> None:
        """Press a key that has no text, such as ``ArrowLeft`` or ``Enter``."""
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                 "ArrowDown": 40, "Tab": 9, "Home": 36}  # fmt: skip
        text = {"text": "\r"} if name == "Enter" else {}
        code = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def box(self, selector: str) -> Mapping[str, float]:
        """Scroll an element into the middle and return its place in the window.

        Waits until the page has drawn what it wants to: nothing moves any more.
        """
        self.until("document.body.dataset.settled")
        script = f"""(() => {{
          const e = document.querySelector({json.dumps(selector)});
          e.scrollIntoView({{ block: "center", behavior: "instant" }});
          const {{ x, y, width, height }} = e.getBoundingClientRect();
          return {{ x, y, width, height }};
        }})()"""
        found: Mapping[str, float] = self.run(script)
        return found

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        box = self.box(selector)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.drag(x, y, x, y)

    def picture(self, *, whole: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def printed(self) -> bytes:
        """Return the page as a printer would get it, a PDF."""
        found = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=False)
        return base64.b64decode(found["data"])

    def told(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return the events of this tab so far that are wanted."""
        self.run("0")
        mine = [e for e in self._browser.events if e.get("sessionId") == self._session]
        return [e for e in mine if wanted(e)]

    def complaints(self) -> list[str]:
        """Return console errors, exceptions and broken policies."""
        found = []
        for event in self.told(lambda e: True):
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
                found.append(json.dumps(params["args"])[:500])
        return found

    def requests(self) -> list[str]:
        """Return the addresses that were asked for, but for the page itself."""
        urls = [
            e["params"]["request"]["url"]
            for e in self.told(lambda e: e["method"] == "Network.requestWillBeSent")
        ]
        return [u for u in urls if not u.startswith(("data:", "blob:", "about:"))][1:]
