"""A real headless Chromium, driven through the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Browser:
    """One page in a browser of its own; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="taemi-edge-browser-")
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [
                str(CHROMIUM),
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._folder}",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                *sandbox,
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._open = ExitStack()

    def __enter__(self) -> Browser:
        with self._open as opened:
            opened.callback(self._end)
            self._socket = opened.enter_context(connect(self._page_address(), max_size=None, ping_interval=None))
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command; errors that the page logs meanwhile are kept in `problems`."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._notice(message)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def load(self, url: str, timeout_s: float = 30.0) -> None:
        """Open a page and wait until all of it is there."""
        self.open(url)
        self.wait_for(f"location.href.startsWith('{url}') && document.readyState === 'complete'", timeout_s)

    def watch_requests(self) -> None:
        """From now on, keep the address of everything that pages ask for in `requests`."""
        self.call("Network.enable")

    def evaluate(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 20.0) -> float:
        """Seconds until an expression was true."""
        started = time.monotonic()
        while not self.evaluate(f"document.documentElement ? Boolean({script}) : false"):
            assert time.monotonic() - started < timeout_s, f"never true: {script}"
            time.sleep(0.05)
        return time.monotonic() - started

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, scheme: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _notice(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"]["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(message["params"]["entry"]["text"])

    def _page_address(self) -> str:
        """Where the first page listens, once the browser has said its port."""
        file = Path(self._folder) / "DevToolsActivePort"
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if file.is_file() and len(lines := file.read_text().splitlines()) >= 1:
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as answer:
                    pages = [page for page in json.load(answer) if page["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise TimeoutError("the browser did not start within 30 s")
