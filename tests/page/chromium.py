"""A headless Chromium that tests type, click and look with, over its own pipe.

The DevTools protocol as it is: a message is JSON and a zero byte, on two pipes that the
browser has as files 3 and 4. Nothing but the browser is needed.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
PATIENCE = 60  # seconds for one answer


class Browser:
    """One page in a browser: `ask` for values, `press` and `drag` as a person would."""

    def __init__(self, read: int, write: int) -> None:
        self.read, self.write, self.kept = read, write, b""
        self.numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        made = self.call("Target.createTarget", {"url": "about:blank"}, None)
        joined = {"targetId": made["targetId"], "flatten": True}
        self.session = self.call("Target.attachToTarget", joined, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(
        self, method: str, given: dict[str, Any] | None = None, session: str | None = ""
    ) -> dict[str, Any]:
        """What a method of the protocol answers; what happens meanwhile is kept."""
        number = next(self.numbers)
        message: dict[str, Any] = {
            "id": number,
            "method": method,
            "params": given or {},
        }
        if session is not None:
            message["sessionId"] = session or self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            heard = self.hear()
            if heard.get("id") == number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]
            self.events.append(heard)

    def hear(self) -> dict[str, Any]:
        """The next message of the browser."""
        while b"\0" not in self.kept:
            ready, _, _ = select.select([self.read], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            got = os.read(self.read, 1 << 20)
            assert got, "the browser is gone"
            self.kept += got
        text, _, self.kept = self.kept.partition(b"\0")
        return json.loads(text)

    def open(self, path: Path, width: int = 1300, height: int = 900, **media: str):
        """Load a file in a window of this size; media: color_scheme="dark" and such."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        narrow = {**size, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", narrow)
        features = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in media.items()
        ]
        self.call("Emulation.setEmulatedMedia", {"features": features})
        self.events.clear()
        self.call("Page.navigate", {"url": path.as_uri()})
        self.wait("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; a promise's once it is there."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        until = time.monotonic() + PATIENCE
        while not (value := self.ask(expression)):
            assert time.monotonic() < until, f"in vain: {expression}"
            time.sleep(0.05)
        return value

    def press(self, key: str, text: str = "", times: int = 1) -> None:
        """Press a key and let it go."""
        for _ in range(times):
            for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
                code = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
                given = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
                typed = {"text": text} if text and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", {**given, **typed})

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the mouse at the first point, move it over the others, let it go."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            given = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", {**given, "buttons": 1})

    def point(self, x: float, y: float) -> None:
        """Move the mouse there, no button pressed."""
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def complaints(self) -> list[str]:
        """What the console has said since the page was opened, and what was thrown."""
        self.ask("0")  # whatever was said before has come by now
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        heard = (*kinds, "Log.entryAdded")
        return [
            json.dumps(event) for event in self.events if event.get("method") in heard
        ]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened."""
        self.ask("0")
        sent = "Network.requestWillBeSent"
        found = [
            event["params"] for event in self.events if event.get("method") == sent
        ]
        return [request["request"]["url"] for request in found]

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write what the page looks like, all of it or the window, as PNG."""
        given = {"captureBeyondViewport": whole}
        shot = self.call("Page.captureScreenshot", given)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, which is closed in the end."""
    (theirs, write), (read, back) = os.pipe(), os.pipe()
    line = [
        str(BROWSER),
        *FLAGS,
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
        "about:blank",
    ]
    # In bash: sh may know no files beyond 9.
    shell = f'exec "$@" 3<&{theirs} 4>&{back}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *line],
        pass_fds=(theirs, back),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(back)
    try:
        yield Browser(read, write)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        os.close(read)
        os.close(write)
