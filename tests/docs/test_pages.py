"""What instructions name exists: configurations in pages load, and drawings can be read by everybody."""

from __future__ import annotations

import re
from pathlib import Path
from xml.parsers import expat

import pytest

from taemi_edge.live.config import load_live_config
from tests.conftest import ROOT

pytestmark = pytest.mark.once
DOCS = ROOT / "docs"
DRAWINGS = sorted((DOCS / "images" / "concepts").glob("*.svg"))
CONCEPTS = [DOCS / "concepts" / f"{drawing.stem}.md" for drawing in DRAWINGS]


def _configurations() -> list[tuple[str, str]]:
    """The TOML of live runs in instructions, by page."""
    pages = [*(DOCS / "how-to").glob("*.md"), *(DOCS / "start").glob("*.md")]
    blocks = [
        (page.stem, block)
        for page in sorted(pages)
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    return [(page, block) for page, block in blocks if "[[source]]" in block]


@pytest.mark.parametrize(("page", "text"), _configurations())
def test_configurations_of_live_runs_load(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "live.toml"
    file.write_text(text, encoding="utf-8")
    assert load_live_config(file).source[0].name, page


@pytest.mark.parametrize("page", CONCEPTS, ids=lambda page: page.stem)
def test_a_concept_is_a_short_page_with_one_drawing_that_has_a_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    [(said, place)] = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert len(said) > 20
    assert (page.parent / place).resolve() == DOCS / "images" / "concepts" / f"{page.stem}.svg"
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.stem)
def test_drawings_are_light_panels_with_a_title(drawing: Path) -> None:
    text = drawing.read_text(encoding="utf-8")
    expat.ParserCreate().Parse(text, True)
    assert re.search(r'<title id="title">[^<]{20,}</title>', text)
    [width] = re.findall(r'^<svg [^>]*width="(\d+)"', text)
    assert re.search(rf'<rect width="{width}" height="\d+" rx="10" fill="#f5f7fa"/>', text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.nightly
def test_a_clip_is_played_as_a_camera_and_its_end_is_a_loss(real_clip, tiny_folder, tmp_path) -> None:
    """The server of `docs/start/camera.md`, as the page starts it."""
    import subprocess

    from tests.live.running import LiveRun
    from tests.live.servers import free_port, rtsp_server_is_there

    if not rtsp_server_is_there():
        pytest.skip("Debian's gst-rtsp-server is not installed: tools/install_test_servers.sh")
    port = str(free_port())
    command = ["/usr/bin/python3", str(ROOT / "examples" / "camera" / "rtsp_camera.py"), str(real_clip), "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            assert address == f"rtsp://127.0.0.1:{port}/live"
            with LiveRun(tmp_path, tiny_folder, f"door={address}", "--set", "duration_s=11") as run:
                run.wait(120)
        finally:
            server.kill()
    assert "live" in {prediction["presence"]["vision"] for prediction in run.predictions}
    assert "the sender ended the stream" in {event.get("reason") for event in run.events}
