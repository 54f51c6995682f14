"""A run with its page, shared by the tests of this folder."""

from __future__ import annotations

import pytest

from tests.live.running import LiveRun
from tests.live.servers import free_port


@pytest.fixture(scope="package")
def served(tiny_folder, demo_video, demo_vtt, tmp_path_factory):
    """A run of a file, again and again, with its page."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    words = (f"demo={demo_video}", "--loop", "--serve", f"127.0.0.1:{port}", "--transcript", demo_vtt)
    with LiveRun(folder, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 4)
        run.wait_for("audio", "live")
        yield run, f"http://127.0.0.1:{port}"
