"""Clips around losses."""

from __future__ import annotations

import json
import socket

import av
import pytest

from taemi_edge.media.transcripts import read_transcript
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.live.running import LiveRun
from tests.live.servers import RtspServer


@pytest.mark.once
def test_losses_are_recorded_in_the_layout_of_a_corpus_and_within_a_size(
    tiny_folder, lasting_clip, tmp_path, needs_rtsp_server
):
    folder = tmp_path / "losses"
    config = tmp_path / "live.toml"
    with RtspServer(lasting_clip) as server:
        config.write_text(
            f'[[source]]\nname = "cam"\nuri = "{server.url}"\ntranscript = "unix:{tmp_path}/words.sock"\n'
            f'[record]\nfolder = "{folder}"\nbefore_s = 2.0\nafter_s = 1.0\nmost_mib = 0.2\n'
        )
        with LiveRun(tmp_path, tiny_folder, "--config", config) as run:
            run.wait_until(lambda: run.predictions)
            speaker = socket.socket(socket.AF_UNIX)
            speaker.connect(str(tmp_path / "words.sock"))
            for number in range(1, 4):
                run.wait_for("audio", "live")
                run.wait_for("vision", "live")
                for wanted in (2, 2):
                    speaker.sendall(b'{"text": "so it is"}\n')
                    made = len(run.predictions)
                    run.wait_until(lambda: len(run.predictions) >= made + wanted)  # noqa: B023
                server.kill()
                run.wait_until(lambda: sum("kept" in line for line in run.log) >= number)  # noqa: B023
                server.start()
            speaker.close()
    losses = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert [loss["clip"] for loss in losses] == ["00001", "00002", "00003"]
    assert {event["modality"] for event in losses[0]["losses"]} == {"vision", "audio"}
    kept = sorted((folder / "raw").glob("*.mkv"))
    assert sum(file.stat().st_size for file in kept) <= 0.2 * 2**20
    assert kept[-1].stem == "00003"
    assert not (folder / "raw" / "00001.mkv").exists()
    with av.open(str(kept[-1])) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 7
    with av.open(str(kept[-1])) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 16_000
    assert [word.text for word in read_transcript(folder / "transcripts" / "00003.vtt", None)][-3:] == [
        "so",
        "it",
        "is",
    ]
    (folder / "train_split.csv").write_text(  # labels are for people to add
        "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n00003,0,0,1,0,0,0\n"
    )
    [clip] = open_corpus(folder).clips
    assert clip.video == kept[-1]
    assert clip.transcript is not None


def test_a_folder_that_cannot_be_written_is_said_before_the_run(cli, tiny_folder, demo_video, tmp_path):
    (tmp_path / "file").touch()
    config = tmp_path / "live.toml"
    config.write_text(f'[[source]]\nname = "x"\nuri = "{demo_video}"\n[record]\nfolder = "{tmp_path}/file/clips"\n')
    for words in ([demo_video, "--record", tmp_path / "file" / "clips"], ["--config", config]):
        done = cli("run", tiny_folder, *words, "--duration", "5")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{tmp_path}/file/clips" in done.stderr
        assert "Traceback" not in done.stderr
