"""`taemi-edge run` as its users type it: rightly, and wrongly."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from tests.cli.checks import lines_of, refused
from tests.media import remux, tone, write_float_wav, write_media


def test_predictions_go_to_standard_output_and_nothing_else_does(cli, tiny_folder, demo_video, demo_vtt):
    done = cli("run", tiny_folder, demo_video, "--transcript", demo_vtt, "--threads", 1)
    assert done.returncode == 0
    lines = lines_of(done.stdout)
    assert [line["time_s"] for line in lines] == [0.5 * i for i in range(1, 34)]
    assert lines[-1]["presence"] == {"vision": "live", "audio": "live", "text": "live"}
    assert "33 predictions, real-time factor" in done.stderr
    assert "names nothing that its head was trained on" in done.stderr


def test_window_hop_drops_and_files(cli, tiny_folder, demo_video, demo_vtt, tmp_path: Path):
    output, video = tmp_path / "out" / "p.jsonl", tmp_path / "a.mp4"
    drops = ["--drop", "vision@2-5", "--drop", "audio@3-6", "--drop", "text@0-16.8"]
    words = ["--transcript", demo_vtt, "--window", 3, "--hop", 1, "--output", output, "--annotate", video]
    done = cli("run", tiny_folder, demo_video, *words, *drops)
    assert (done.returncode, done.stdout) == (0, "")
    lines = lines_of(output.read_text())
    assert [line["window_s"] for line in lines[:4]] == [[0, 1], [0, 2], [0, 3], [1, 4]]
    presence = {line["time_s"]: line["presence"] for line in lines}
    assert [presence[t]["vision"] for t in (1, 2, 3, 4, 7)] == ["live", "missing", "missing", "missing", "live"]
    assert [presence[t]["audio"] for t in (2, 3, 5, 8)] == ["live", "missing", "missing", "live"]
    assert {p["text"] for p in presence.values()} == {"missing"}
    assert {line["status"] for line in lines if 3 <= line["time_s"] < 5} == {"no signal"}
    assert all(line["latency_ms"]["vision"] == 0 for line in lines if 3 <= line["time_s"] < 5)
    with av.open(str(video)) as container:
        assert container.duration / av.time_base == pytest.approx(16.7, abs=0.3)
        assert (container.streams.video[0].codec_context.width, container.streams.video[0].height) == (1000, 540)
        assert len(container.streams.audio) == 1
        assert sum(1 for _ in container.decode(video=0)) > 200
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "out"]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "ts"])
def test_containers_give_the_same_presence(cli, tiny_folder, demo_video, tmp_path: Path, ending: str):
    done = cli("run", tiny_folder, remux(demo_video, tmp_path / f"a.{ending}"), "--hop", 2)
    assert done.returncode == 0
    lines = lines_of(done.stdout)
    assert len(lines) == 8
    assert all(line["presence"] == {"vision": "live", "audio": "live", "text": "missing"} for line in lines)


def test_sound_alone_and_picture_alone_say_what_is_missing(cli, tiny_folder, demo_video, tmp_path: Path):
    sound = write_float_wav(tmp_path / "a.wav", tone(2.0))
    picture = write_media(tmp_path / "b.mp4", frame_times_s=[i / 25 for i in range(50)])
    assert cli("run", tiny_folder, sound, picture, "--output", tmp_path / "p.jsonl").returncode == 0
    lines = lines_of((tmp_path / "p.jsonl").read_text())
    heard, seen = ([line for line in lines if line["source"] == name] for name in ("a.wav", "b.mp4"))
    assert len(heard) == len(seen) == 4
    assert heard[3]["presence"]["audio"] == "live"
    assert heard[3]["reason"]["vision"] == "the file has no video stream"
    assert seen[3]["reason"] == {
        "vision": "no face in view",
        "audio": "the file has no audio stream",
        "text": "no transcript was given",
    }
    assert seen[3]["status"] == "no signal"


def test_several_sources_share_their_calls(cli, tiny_folder, demo_video, tmp_path: Path):
    """Each gives the lines that it gives alone, and the end says how many calls it took."""
    other = Path(shutil.copyfile(demo_video, tmp_path / "other.mp4"))
    together = cli("run", tiny_folder, demo_video, other, "--deadline", 5000, "--window", 4)
    alone = lines_of(cli("run", tiny_folder, demo_video, "--window", 4).stdout)
    assert "2 sources: 66 predictions in 33 calls" in together.stderr
    for name in (demo_video.name, "other.mp4"):
        lines = [line for line in lines_of(together.stdout) if line["source"] == name]
        assert [line["time_s"] for line in lines] == [line["time_s"] for line in alone]
        for both, one in zip(lines, alone, strict=True):
            assert both["presence"] == one["presence"]
            assert both["backend"] == "cpu"
            assert both["intensities"] == pytest.approx(one["intensities"], abs=2e-6)


def test_a_source_that_is_too_short_leaves_the_others_their_lines(cli, tiny_folder, demo_video, tmp_path: Path):
    short = write_float_wav(tmp_path / "short.wav", tone(0.2))
    done = cli("run", tiny_folder, demo_video, short, "--output", tmp_path / "p.jsonl")
    assert done.returncode == 2
    assert "short.wav: expected at least one hop of 0.5 s" in done.stderr
    assert len(lines_of((tmp_path / "p.jsonl").read_text())) == 33


def test_a_text_without_times_is_spread_over_the_clip(cli, tiny_folder, demo_video, tmp_path: Path):
    (tmp_path / "a.txt").write_text("one two three four five six seven eight")
    lines = lines_of(cli("run", tiny_folder, demo_video, "--transcript", tmp_path / "a.txt", "--hop", 2).stdout)
    assert all(line["presence"]["text"] in ("live", "stale") for line in lines[1:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.mp4"], "none.mp4: expected a video or audio file, found nothing"),
        (["empty.mp4"], "got an empty file"),
        (["text.mp4"], "FFmpeg cannot read it"),
        (["short.wav"], "expected at least one hop of 0.5 s, got 0.30 s: give a shorter hop or a longer file"),
        (["good.wav", "--drop", "smell@1-2"], "expected one of vision, audio, text, got 'smell'"),
        (["good.wav", "--drop", "audio@2-1"], "expected an end after the start"),
        (["good.wav", "--hop", "-1"], "--hop -1: expected seconds above 0"),
        (["good.wav", "--window", "1", "--hop", "2"], "expected a hop no longer than the window"),
        (["good.wav", "--transcript", "none.vtt"], "cannot read it: No such file"),
        (["good.wav", "--transcript", "latin.srt"], "latin.srt, line 3: expected UTF-8"),
        (["good.wav", "--transcript", "overlap.srt"], "overlaps the one before it"),
        (["good.wav", "--transcript", "empty.vtt"], "expected WEBVTT, got an empty file"),
        (["good.wav", "--transcript", "backwards.vtt"], "expected 0 <= start < end, got 2 s to 1 s"),
        (["good.wav", "--transcript", "good.vtt", "--asr"], "--transcript, --asr: expected one of the two, got both"),
        (["good.wav", "--annotate", "o.mp4"], "has no video stream to draw on"),
        (["good.wav", "--annotate", "o.gif"], "expected a file that ends in .mp4 or .mkv"),
        (["good.wav", "good.wav", "--transcript", "good.vtt"], "belong to one source"),
        (["good.wav", "--deadline", "-1"], "--deadline: expected from 0 to 60000 ms, got -1 ms"),
        (["good.wav", "--device", "tensorrt"], "holds ONNX graphs: run `taemi-edge build-engine"),
        (["good.wav", "good.wav"], "expected different sources, got one of them twice"),
        (["good.wav", "--device", "cuda"], "--device cuda needs ONNX Runtime with CUDAExecutionProvider"),
        (["good.wav", "--asr", "--asr-model", "./nowhere"], "expected a CTranslate2 folder, found nothing there"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(cli_here, tiny_folder, tmp_path: Path, words, message: str):
    if "--asr" in words:
        pytest.importorskip("faster_whisper")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    write_float_wav(tmp_path / "short.wav", tone(0.3))
    write_float_wav(tmp_path / "good.wav", tone(2.0))
    (tmp_path / "latin.srt").write_bytes("1\n00:00:00,000 --> 00:00:01,000\ncaf\xe9\n".encode("latin-1"))
    cue = "00:00:0{},000 --> 00:00:0{},000\nhi\n\n"
    (tmp_path / "overlap.srt").write_text(cue.format(0, 3) + cue.format(1, 2))
    (tmp_path / "empty.vtt").touch()
    (tmp_path / "backwards.vtt").write_text("WEBVTT\n\n00:02.000 --> 00:01.000\nhi\n")
    (tmp_path / "good.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhi\n")
    before = sorted(os.listdir(tmp_path))
    refused(cli_here("run", tiny_folder, *words, "--output", "o.jsonl", cwd=tmp_path), message)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_bundle_that_was_touched_does_not_run(cli_here, tiny_folder, demo_video, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))
    content = bytearray((folder / "audio.onnx").read_bytes())
    content[100] ^= 1
    (folder / "audio.onnx").write_bytes(content)
    refused(cli_here("run", folder, demo_video), "audio.onnx is not the file that the manifest was written for")
    (folder / "audio.onnx").unlink()
    refused(cli_here("run", folder, demo_video), "audio.onnx is missing")
    refused(cli_here("inspect", tmp_path), "expected a bundle")


def test_the_source_is_never_overwritten(cli_here, tiny_folder, demo_video, tmp_path: Path):
    own = Path(shutil.copy(demo_video, tmp_path / "me.mp4"))
    for option in ("--output", "--annotate"):
        refused(cli_here("run", tiny_folder, own, option, own), "expected another file than the ones that are read")
    kept = (tiny_folder / "manifest.json").read_bytes()
    refused(
        cli_here("run", tiny_folder, own, "--output", tiny_folder / "manifest.json"),
        "expected a place outside of the bundle",
    )
    assert (tiny_folder / "manifest.json").read_bytes() == kept
    assert own.read_bytes() == demo_video.read_bytes()


def test_a_full_disk_is_one_sentence(cli, tiny_folder, demo_video):
    refused(cli("run", tiny_folder, demo_video, "--output", "/dev/full"), "/dev/full: no space left on the device")


def test_lines_stay_whole_when_the_disk_fills_up(tiny_folder, demo_video, tmp_path: Path):
    """A file may grow to 4,000 bytes, as on a disk with so much room: the lines that fit are whole."""

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [sys.executable, "-m", "taemi_edge", "run", str(tiny_folder), str(demo_video), "--output", "p.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, preexec_fn=little_room, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "p.jsonl: " in done.stderr.strip().splitlines()[-1]
    content = (tmp_path / "p.jsonl").read_text()
    assert content.endswith("}\n")
    assert len(lines_of(content)) >= 3


@pytest.mark.once
def test_ctrl_c_leaves_whole_lines_and_a_playable_video(tiny_folder, demo_video, tmp_path: Path):
    """A long clip is interrupted in the middle."""
    long = tmp_path / "long.mkv"
    write_media(long, frame_times_s=[i / 25 for i in range(5000)], samples=tone(200.0))
    command = [sys.executable, "-m", "taemi_edge", "run", str(tiny_folder), str(long)]
    command += ["--output", "p.jsonl", "--annotate", "a.mp4"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    output = tmp_path / "p.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (output.exists() and output.read_text().count("\n") > 12):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "interrupted: what was written so far is whole" in errors
    assert "Traceback" not in errors
    lines = lines_of(output.read_text())
    assert 12 < len(lines) < 400
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 100
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "long.mkv", "p.jsonl"]


def test_a_reader_that_goes_away_is_no_traceback(tiny_folder, demo_video):
    command = f"{sys.executable} -m taemi_edge run {tiny_folder} {demo_video} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_timeline_is_drawn(cli, tiny_folder, demo_video, tmp_path: Path):
    pytest.importorskip("matplotlib")
    drop = ["--drop", "vision@2-4", "--plot", tmp_path / "t.png", "--output", tmp_path / "p.jsonl"]
    assert cli("run", tiny_folder, demo_video, *drop).returncode == 0
    assert (tmp_path / "t.png").stat().st_size > 20_000


def test_more_threads_than_cores_are_a_note(cli_here, tiny_folder, demo_video, tmp_path):
    done = cli_here("run", tiny_folder, demo_video, "--threads", 1000, "--output", tmp_path / "p.jsonl")
    assert done.returncode == 0
    assert "note: 1000 threads are wanted, and this process may use " in done.stderr
