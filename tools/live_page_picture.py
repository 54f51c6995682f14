"""Takes the picture of the live page for the documentation, in a real Chromium.

    python tools/live_page_picture.py engines/taemi-mobile-cpu docs/images/live-page.png

The demo clip runs on the clock, with its microphone lost after half a minute; its face and its voice are synthetic.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.live.browser import Browser
from tests.live.servers import free_port

_WIDTH, _HEIGHT = 1200, 1010
#: The clip is run again and again; the streams are lost at these times, and the picture is taken after so many seconds.
_LOSSES = ("vision@14-20", "audio@27-60")
_TAKEN_S = 36.0


def main(bundle: str, picture: Path, scheme: str = "light") -> None:
    clip = files("taemi_edge") / "assets" / "demo.mp4"
    address = f"127.0.0.1:{free_port()}"
    drops = [word for loss in _LOSSES for word in ("--drop", loss)]
    transcript = ["--transcript", str(clip.with_suffix(".vtt"))] if isinstance(clip, Path) else []
    command = [sys.executable, "-m", "taemi_edge", "run", bundle, f"demo={clip}", "--loop", "--serve", address]
    served = subprocess.Popen([*command, *drops, *transcript, "--output", "/dev/null"])
    try:
        with Browser() as browser:
            browser.resize(_WIDTH, _HEIGHT)
            browser.prefer(scheme)
            _open(browser, f"http://{address}/")
            browser.wait_for(f"groups[0]?.plot?.data[0].at(-1) >= {_TAKEN_S}", timeout_s=180)
            browser.wait_for("document.documentElement.dataset.pictures >= 1")
            browser.screenshot(picture)
            if browser.problems:
                print("\n".join(browser.problems), file=sys.stderr)
    finally:
        served.terminate()
        served.wait(20)


def _open(browser: Browser, url: str) -> None:
    """Open the page once it is served."""
    for _ in range(120):
        browser.open(url)
        if browser.evaluate("new Promise((done) => setTimeout(() => done(document.title), 500))") == "taemi-edge":
            return
    raise TimeoutError(f"{url}: nothing is served there")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4])
