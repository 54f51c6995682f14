"""The annotated video pushed to real servers."""

from __future__ import annotations

import contextlib
import threading
import time

import av
import pytest

from tests.live.running import LiveRun
from tests.live.servers import RtspServer, free_port


@pytest.mark.once
def test_rtmp_push_goes_on_when_the_server_comes_back(tiny_folder, demo_video, tmp_path):
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/x"
    counts: list[int] = []

    def receive() -> None:
        """One publisher, for forty pictures; then the server is gone."""
        with av.open(url, options={"listen": "1"}, timeout=(30, 10)) as container:
            for count, frame in enumerate(container.decode(video=0)):
                assert frame.width > 600
                if count == 40:
                    counts.append(count)
                    return

    with LiveRun(tmp_path, tiny_folder, f"demo={demo_video}", "--loop", "--push", url) as run:
        for round_number in (1, 2):
            server = threading.Thread(target=receive, daemon=True)
            server.start()
            run.wait_until(lambda: len(counts) >= round_number, 40)  # noqa: B023
            server.join()
        assert run.presence("vision") in ("live", "stale", "recovering")
        assert run.stop(timeout_s=60) == 0


@pytest.mark.once
def test_rtsp_push(tiny_folder, demo_video, lasting_clip, tmp_path, needs_rtsp_server):
    target = tmp_path / "pushed.mkv"
    with RtspServer(lasting_clip, "--record-to", str(target)) as server:
        url = server.url.replace("/live", "/push")
        with LiveRun(tmp_path, tiny_folder, f"demo={demo_video}", "--loop", "--push", url) as run:
            run.wait_until(lambda: target.exists() and target.stat().st_size > 60_000, 40)
            assert run.stop(timeout_s=60) == 0
        time.sleep(0.5)
    count = 0
    with av.open(str(target)) as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.InvalidDataError):  # its last packet is cut
                count += len(packet.decode())
    assert count > 10
