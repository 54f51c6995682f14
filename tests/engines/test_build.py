"""Building engines on the CPU target: what is built, what is refused and in which words."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle, read_manifest
from taemi_edge.engines.build import build_engine
from taemi_edge.errors import BundleError, EngineError, OutputError, UsageError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.runtime import onnx_sessions as ort
from taemi_edge.runtime.opening import open_sessions
from tests.cli.checks import lines_of, refused
from tests.engines.targets import CPU, changed, target


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_precision_that_is_asked_for_is_what_every_part_gets(precision, calibrated_folder, cache, tmp_path):
    made = build_engine(calibrated_folder, target(), precision, tmp_path / "out", threads=1, cache=cache)
    assert {part.precision for part in made.bundle.manifest.parts.values()} == {precision}
    report, _ = check_parity(str(tmp_path / "out"), threads=1)
    assert report.ok == made.bundle.manifest.verified
    if precision != "int8":
        assert report.ok


def test_inspect_says_what_it_was_built_for(built, cli_here):
    done = cli_here("inspect", built.bundle.folder)
    assert f"engines       for cpu, {ort.library_version()} on {platform.machine()}: verified" in done.stdout


def test_run_takes_an_engine_bundle_as_any_other(built, cli, demo_video, demo_vtt):
    done = cli("run", built.bundle.folder, demo_video, "--transcript", demo_vtt, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert len(lines_of(done.stdout)) == 33


def test_an_engine_file_that_was_swapped_or_cut_is_refused(copy, cli_here, demo_video):
    shutil.copyfile(copy / "text.onnx", copy / "audio.onnx")
    (copy / "fusion.onnx").write_bytes((copy / "fusion.onnx").read_bytes()[:500])
    done = cli_here("run", copy, demo_video)
    refused(done, "audio.onnx is not the file that the manifest was written for")
    assert "fusion.onnx is not the file" in done.stderr


def test_engines_of_another_library_say_found_and_wanted(copy):
    changed(copy, library="onnxruntime 1.2.3")
    with pytest.raises(EngineError, match=r"was built for onnxruntime 1\.2\.3 on .*, found onnxruntime .*--rebuild"):
        open_sessions(open_bundle(copy))


def test_rebuild_makes_foreign_engines_anew(copy, cli, demo_video, tmp_path):
    changed(copy, library="onnxruntime 1.2.3")
    environment = {**os.environ, "TAEMI_EDGE_CACHE": str(tmp_path / "cache")}
    done = cli("run", copy, demo_video, "--rebuild", "--threads", 1, env=environment)
    assert done.returncode == 0, done.stderr
    assert "building anew for onnxruntime" in done.stderr
    engine = read_manifest(copy).engine
    assert engine.library == ort.library_version()
    assert engine.recipe["runs"] == int(CPU["runs"])  # as it was built, not as the target's file says


def test_the_bundle_that_is_read_is_never_written_over(cli_here, calibrated_folder):
    done = cli_here("build-engine", calibrated_folder, "--target", "cpu", "--output", calibrated_folder)
    refused(done, "expected another folder than the one that is read")
    assert open_bundle(calibrated_folder).manifest.engine is None


def test_onnx_bundles_do_not_run_on_tensorrt_nor_engines_on_the_cpu(tiny_folder):
    with pytest.raises(UsageError, match="holds ONNX graphs: run `taemi-edge build-engine"):
        open_sessions(open_bundle(tiny_folder), "tensorrt")


def test_no_room_on_disk(calibrated_folder, tmp_path):
    """A file system of one megabyte, where the user may mount one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount") or "mount"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        with pytest.raises(OutputError, match="no space left on the device"):
            build_engine(calibrated_folder, target(), "fp32", small / "o", threads=1, cache=None)
        assert not list(small.iterdir())
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(small)], check=True)


def test_a_bundle_that_changed_after_it_was_calibrated(calibrated_folder, tmp_path):
    source = Path(shutil.copytree(calibrated_folder, tmp_path / "b"))
    (source / "text.fp16.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"text\.fp16\.onnx is not the file"):
        build_engine(source, target(), "fp16", tmp_path / "o", threads=1, cache=None)


def test_ctrl_c_leaves_nothing_behind(calibrated_folder, tmp_path):
    words = ["build-engine", str(calibrated_folder), "--target", "cpu", "--no-cache", "--set", "runs=100000"]
    command = [sys.executable, "-m", "taemi_edge", *words, "--output", str(tmp_path / "o")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "building vision in int8" in line:
                break
        time.sleep(1)
        process.send_signal(2)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert list(tmp_path.iterdir()) == []
