"""The annotated video of a live run."""

from __future__ import annotations

import av

from tests.live.running import LiveRun


def test_an_annotated_video_is_whole_after_sigterm(tiny_folder, demo_video, demo_vtt, tmp_path):
    target = tmp_path / "annotated.mkv"
    words = (f"demo={demo_video}", "--live", "--annotate", target, "--transcript", demo_vtt)
    with LiveRun(tmp_path, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 8)
        assert run.stop() == 0
    with av.open(str(target)) as container:
        frames = [frame.time for frame in container.decode(video=0)]
    assert len(frames) > 40
    assert frames == sorted(frames)
    assert frames[-1] >= 3.0
