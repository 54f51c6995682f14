"""`taemi-edge demo`: the whole way on the clip that comes along, and quick when nothing changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the demo draws its timeline")
pytest.importorskip("espeakng_loader", reason="held-out clips need the extra `synth`")


@pytest.mark.once
def test_the_demo_runs_reuses_its_bundle_and_rebuilds_a_damaged_one(cli, mobile_folder, tmp_path: Path):
    shutil.copytree(mobile_folder, tmp_path / "export" / "taemi-mobile")
    done = cli("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "already built and unchanged" in done.stdout
    made = {"annotated.mp4", "predictions.jsonl", "timeline.png", "evaluation.json", "evaluation.png"}
    assert set(os.listdir(tmp_path / "runs" / "demo")) == {*made, "held-out", "held-out-features"}
    found = json.loads((tmp_path / "runs" / "demo" / "evaluation.json").read_text())
    assert found["mean_pearson"] > 0.5
    assert found["natural"]["clips"] == 40
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
