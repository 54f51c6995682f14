"""Engines are verified on the golden feeds; unverified ones do not run."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import open_bundle, read_manifest, write_manifest
from taemi_edge.errors import EngineError
from taemi_edge.runtime.sessions import require_verified
from tests.cli.checks import refused


def test_verification_has_every_stage_and_all_presence_patterns(built):
    verdicts = {verdict.stage: verdict for verdict in built.record.verification}
    assert list(verdicts) == [*built.bundle.manifest.part_names, "end-to-end"]
    assert all(verdict.ok for verdict in verdicts.values())
    assert (verdicts["fusion"].cases, verdicts["end-to-end"].cases) == (32, 8)


def test_unverified_engines_do_not_run_unless_told(copy, cli_here, demo_video):
    manifest = read_manifest(copy)
    engine = msgspec.structs.replace(manifest.engine, failure="text left its tolerance")
    write_manifest(copy, msgspec.structs.replace(manifest, verified=False, engine=engine))
    refused(cli_here("run", copy, demo_video), "expected verified engines, but text left its tolerance")
    done = cli_here("run", copy, demo_video, "--unverified", "--threads", 1)
    assert done.returncode == 0, done.stderr
    with pytest.raises(EngineError, match="pass --unverified"):
        require_verified(open_bundle(copy))


def test_engines_outside_their_tolerance_are_marked_and_exit_1(cli, calibrated_folder, tmp_path):
    source = Path(shutil.copytree(calibrated_folder, tmp_path / "strict"))
    manifest = read_manifest(source)
    tolerances = manifest.tolerances_by["int8"]
    narrow = tolerances | {"text": msgspec.structs.replace(tolerances["text"], max_abs=1e-9)}
    write_manifest(source, msgspec.structs.replace(manifest, tolerances_by={**manifest.tolerances_by, "int8": narrow}))
    words = ("build-engine", source, "--target", "cpu", "--precision", "int8", "--no-cache", "--output", tmp_path / "o")
    done = cli(*words)
    assert done.returncode == 1
    assert "left its tolerance in " in done.stderr
    assert "the bundle is marked unverified and will not run" in done.stderr
    made = read_manifest(tmp_path / "o")
    assert made.verified is False
    assert not next(verdict for verdict in made.engine.verification if verdict.stage == "text").ok
