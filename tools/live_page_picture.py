"""Takes the picture of the live page for the documentation, in a real Chromium.

    python tools/live_page_picture.py engines/taemi-mobile-cpu docs/images/live-page.png

The demo clip runs on the clock while two of its streams are lost; its face and its voice are synthetic.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.live.browser import Browser
from tests.live.servers import free_port

_WIDTH, _HEIGHT = 1200, 1010
#: The clip has 16.5 s. The streams are lost at these times, and the picture is taken after so many seconds.
_LOSSES = ("vision@5-8", "audio@12-20")
_TAKEN_S = 15.0


def main(bundle: str, picture: Path, scheme: str = "light") -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("demo.mp4", "demo.vtt"):
            (Path(folder) / name).write_bytes((files("taemi_edge") / "assets" / name).read_bytes())
        _take(Path(bundle).resolve(), picture, scheme, Path(folder))


def _take(bundle: Path, picture: Path, scheme: str, folder: Path) -> None:
    """Run the clip in a folder of its own: the page shows where it lies."""
    address = f"127.0.0.1:{free_port()}"
    drops = [word for loss in _LOSSES for word in ("--drop", loss)]
    command = [sys.executable, "-m", "taemi_edge", "run", str(bundle), "demo=demo.mp4", "--loop", "--serve", address]
    served = subprocess.Popen([*command, *drops, "--transcript", "demo.vtt", "--output", "/dev/null"], cwd=folder)
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
