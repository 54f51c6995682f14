"""Engine builds on the CPU target: what is verified, what comes from the cache, what is refused and in which words."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import CHOICE, FILES, open_bundle, read_manifest, sha256_of, write_manifest
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.spec import PARTS
from taemi_edge.engines.build import _plan, build_engine, fastest_worth_it
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import BundleError, EngineError, OutputError, UsageError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.runtime import onnx_sessions as ort
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.sessions import require_verified
from tests.commands import lines_of, refused

CPU = {"runs": "3"}


def target(name: str = "cpu", **changes: str) -> TargetRecipe:
    return load_recipe("engines", name, TargetRecipe, changes)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def built(calibrated_folder, cache, tmp_path_factory):
    """The calibrated tiny bundle for this processor, each part in the precision that was fastest."""
    folder = tmp_path_factory.mktemp("engines") / "taemi-tiny-cpu"
    return build_engine(calibrated_folder, target(**CPU), "auto", folder, threads=1, cache=cache)


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built.bundle.folder, tmp_path / "engines"))


def changed(folder: Path, **engine: object) -> Path:
    manifest = read_manifest(folder)
    write_manifest(folder, msgspec.structs.replace(manifest, engine=msgspec.structs.replace(manifest.engine, **engine)))
    return folder


# -------------------------------------------------------------------------------------------------- what is made


def test_auto_times_every_precision_of_every_part_and_says_why(built):
    record = built.record
    assert built.bundle.manifest.verified
    assert {entry.name for entry in built.bundle.folder.iterdir()} <= set(FILES)
    for part in PARTS:
        candidates = {c.precision: c for c in record.candidates if c.part == part}
        assert set(candidates) == {"fp32", "fp16", "int8"}
        (kept,) = [c for c in candidates.values() if c.kept]
        assert kept.precision == built.bundle.manifest.parts.of(part).precision
        assert all(c.reason and c.median_ms > 0 for c in candidates.values())
        inside = [c.median_ms for c in candidates.values() if not c.reason.startswith(("outside", "Pearson", "mean"))]
        assert kept.median_ms * 0.95 <= min(inside)
    assert (built.bundle.folder / CHOICE).stat().st_size > 5_000


@pytest.mark.parametrize(
    ("medians", "kept"),
    [
        ({"fp32": 10.0, "fp16": 9.8, "int8": 9.7}, "fp32"),
        ({"fp32": 10.0, "fp16": 5.0, "int8": 4.9}, "fp16"),
        ({"fp32": 10.0, "fp16": 9.8, "int8": 5.0}, "int8"),
        ({"fp16": 10.0, "int8": 20.0}, "fp16"),
    ],
)
def test_a_lower_precision_must_be_worth_it(medians, kept):
    assert fastest_worth_it(medians, 0.05) == kept


def test_verification_has_every_stage_and_all_presence_patterns(built):
    verdicts = {verdict.stage: verdict for verdict in built.record.verification}
    assert list(verdicts) == [*PARTS, "end-to-end"]
    assert all(verdict.ok for verdict in verdicts.values())
    assert (verdicts["fusion"].cases, verdicts["end-to-end"].cases) == (32, 8)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_precision_that_is_asked_for_is_what_every_part_gets(precision, calibrated_folder, cache, tmp_path):
    made = build_engine(calibrated_folder, target(), precision, tmp_path / "out", threads=1, cache=cache)
    assert {made.bundle.manifest.parts.of(part).precision for part in PARTS} == {precision}
    report, _ = check_parity(str(tmp_path / "out"), threads=1)
    assert report.ok == made.bundle.manifest.verified
    if precision != "int8":
        assert report.ok


def test_an_exported_bundle_is_cast_to_fp16_by_its_golden_feeds(tiny_folder, tmp_path):
    pytest.importorskip("onnx", reason="graphs are cast with onnx")
    made = build_engine(tiny_folder, target(), "fp16", tmp_path / "out", threads=1, cache=None)
    assert made.bundle.manifest.parts.text.precision == "fp16"


def test_inspect_says_what_it_was_built_for(built, cli):
    done = cli("inspect", built.bundle.folder)
    assert f"engines       for cpu, {ort.library_version()} on {platform.machine()}: verified" in done.stdout


def test_run_takes_an_engine_bundle_as_any_other(built, cli, demo_video, demo_vtt):
    done = cli("run", built.bundle.folder, demo_video, "--transcript", demo_vtt, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert len(lines_of(done.stdout)) == 33


# ----------------------------------------------------------------------------------------------------- the cache


def test_the_same_build_again_takes_under_a_second(cli, calibrated_folder, tmp_path):
    environment = {**os.environ, "TAEMI_EDGE_CACHE": str(tmp_path / "cache")}
    words = ("build-engine", calibrated_folder, "--target", "cpu", "--precision", "fp32")
    first = cli(*words, "--output", tmp_path / "a", env=environment)
    assert first.returncode == 0, first.stderr
    started = time.perf_counter()
    again = cli(*words, "--output", tmp_path / "b", env=environment)
    seconds = time.perf_counter() - started
    assert "taken from the cache" in again.stdout
    assert open_bundle(tmp_path / "b").manifest.verified
    assert seconds < 3  # under 1 s alone (docs/engines.md); tests share the cores


def test_nothing_else_hits(calibrated_folder, tiny_folder, tmp_path):
    """A changed weight, shape, calibration, library, driver or GPU gives another key."""
    plan = _plan(calibrated_folder, target(), "fp32", 1)
    manifest = plan.manifest
    machine = plan.machine
    others = [
        msgspec.structs.replace(manifest, sha256={**manifest.sha256, "text.fp32.onnx": "0" * 64}),
        msgspec.structs.replace(
            manifest, calibration=msgspec.structs.replace(manifest.calibration, ranges_sha256="0" * 64)
        ),
        msgspec.structs.replace(manifest, tolerances=manifest.tolerances_by["fp32"]),
    ]
    from dataclasses import replace

    plans = [
        plan,
        *(replace(plan, manifest=other) for other in others),
        replace(plan, target=target(**{"profiles.text.tokens": "[1, 16, 64]"})),
        replace(plan, target=target(workspace_mib="7")),
        replace(plan, library="onnxruntime 0.0.1"),
        replace(plan, machine=msgspec.structs.replace(machine, driver="1.2.3")),
        replace(plan, machine=msgspec.structs.replace(machine, gpu="Orin")),
        replace(plan, machine=msgspec.structs.replace(machine, processor="another")),
        replace(plan, machine=msgspec.structs.replace(machine, l4t="R36")),
        replace(plan, asked="fp16"),
        _plan(tiny_folder, target(), "fp32", 1),
    ]
    keys = [p.build_key() for p in plans]
    assert len(set(keys)) == len(keys)
    shapes = replace(plan, target=target(**{"profiles.text.tokens": "[1, 16, 64]"}))
    assert plan.part_key("text", "fp32", "x") != shapes.part_key("text", "fp32", "x")
    assert plan.part_key("vision", "fp32", "x") == shapes.part_key("vision", "fp32", "x")
    assert plan.part_key("text", "fp32", "x") != plan.part_key("text", "fp32", "y")


def test_what_was_damaged_in_the_cache_is_built_anew(calibrated_folder, tmp_path):
    kept = EngineCache(tmp_path / "cache")
    first = build_engine(calibrated_folder, target(), "fp32", tmp_path / "a", threads=1, cache=kept)
    (part,) = [f for f in (tmp_path / "cache" / "parts").iterdir() if f.name == first.record.part_keys["fusion"]]
    part.write_bytes(part.read_bytes()[:-1])
    (bundle,) = (tmp_path / "cache" / "bundles").iterdir()
    (bundle / "fusion.onnx").unlink()
    again = build_engine(calibrated_folder, target(), "fp32", tmp_path / "b", threads=1, cache=kept)
    assert not again.from_cache
    assert again.bundle.manifest.verified


# ---------------------------------------------------------------------------------------------------- refusals


def test_unverified_engines_do_not_run_unless_told(copy, cli, demo_video):
    manifest = read_manifest(copy)
    engine = msgspec.structs.replace(manifest.engine, failure="text left its tolerance")
    write_manifest(copy, msgspec.structs.replace(manifest, verified=False, engine=engine))
    refused(cli("run", copy, demo_video), "expected verified engines, but text left its tolerance")
    done = cli("run", copy, demo_video, "--unverified", "--threads", 1)
    assert done.returncode == 0, done.stderr
    with pytest.raises(EngineError, match="pass --unverified"):
        require_verified(open_bundle(copy))


def test_engines_outside_their_tolerance_are_marked_and_exit_1(cli, calibrated_folder, tmp_path):
    source = Path(shutil.copytree(calibrated_folder, tmp_path / "strict"))
    manifest = read_manifest(source)
    tolerances = manifest.tolerances_by["int8"]
    narrow = msgspec.structs.replace(tolerances, text=msgspec.structs.replace(tolerances.text, max_abs=1e-9))
    write_manifest(source, msgspec.structs.replace(manifest, tolerances_by={**manifest.tolerances_by, "int8": narrow}))
    words = ("build-engine", source, "--target", "cpu", "--precision", "int8", "--no-cache", "--output", tmp_path / "o")
    done = cli(*words)
    assert done.returncode == 1
    assert "left its tolerance: the bundle is marked unverified and will not run" in done.stderr
    made = read_manifest(tmp_path / "o")
    assert made.verified is False
    assert not next(verdict for verdict in made.engine.verification if verdict.stage == "text").ok


def test_an_engine_file_that_was_swapped_or_cut_is_refused(copy, cli, demo_video):
    shutil.copyfile(copy / "text.onnx", copy / "audio.onnx")
    (copy / "fusion.onnx").write_bytes((copy / "fusion.onnx").read_bytes()[:500])
    done = cli("run", copy, demo_video)
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


def test_a_target_of_another_architecture(cli, calibrated_folder, tmp_path):
    name = "jetson-orin-nano" if platform.machine() == "x86_64" else "rtx"
    done = cli("build-engine", calibrated_folder, "--target", name, "--precision", "fp16", "--output", tmp_path / "o")
    refused(done, f"--target {name} is for")
    assert not (tmp_path / "o").exists()


def test_the_bundle_that_is_read_is_never_written_over(cli, calibrated_folder):
    done = cli("build-engine", calibrated_folder, "--target", "cpu", "--output", calibrated_folder)
    refused(done, "expected another folder than the one that is read")
    assert open_bundle(calibrated_folder).manifest.engine is None


@pytest.mark.parametrize("change", ["runs=0", "gain=2", "workspace_mib=-1", "optimisation_level=9", "precisions=[]"])
def test_values_that_no_target_can_have(change, cli, calibrated_folder):
    refused(cli("build-engine", calibrated_folder, "--target", "cpu", "--set", change), "expected ")


def test_no_tensorrt_here(cli, calibrated_folder, tmp_path):
    done = cli("build-engine", calibrated_folder, "--target", "tensorrt", "--output", tmp_path / "o")
    refused(done, "tensorrt cannot be loaded")
    assert not (tmp_path / "o").exists()


def test_no_gpu_here(cli, calibrated_folder, tmp_path):
    done = cli("build-engine", calibrated_folder, "--target", "cuda", "--output", tmp_path / "o")
    refused(done, "a GPU is needed")


def test_engines_of_engines(built, tmp_path):
    with pytest.raises(EngineError, match="expected a bundle of graphs, got engines for cpu"):
        build_engine(built.bundle.folder, target(), "fp32", tmp_path / "o")


def test_int8_of_a_bundle_that_was_never_calibrated(cli, tiny_folder, tmp_path):
    words = ("build-engine", tiny_folder, "--target", "cpu", "--precision", "int8", "--output", tmp_path / "o")
    refused(cli(*words), "has no int8 graph of vision: run `taemi-edge calibrate")
    assert list(tmp_path.iterdir()) == []


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


def test_a_profile_with_a_dimension_that_is_none(cli, calibrated_folder):
    done = cli("build-engine", calibrated_folder, "--target", "cpu", "--set", "profiles.text.token=[1,2,3]")
    refused(done, "expected batch, tokens in profiles.text, got 'token'")


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


def test_files_are_what_the_manifest_says_after_a_cached_build(calibrated_folder, cache, tmp_path):
    build_engine(calibrated_folder, target(), "fp16", tmp_path / "a", threads=1, cache=cache)
    again = build_engine(calibrated_folder, target(), "fp16", tmp_path / "b", threads=1, cache=cache)
    assert again.from_cache
    manifest = again.bundle.manifest
    assert {name: sha256_of(tmp_path / "b" / name) for name in manifest.sha256} == manifest.sha256
