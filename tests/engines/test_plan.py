"""Planning a build: its keys, and targets that are not this device."""

from __future__ import annotations

import platform

import msgspec
import pytest

from taemi_edge.engines.build import build_engine
from taemi_edge.engines.plan import plan_build
from taemi_edge.errors import EngineError
from tests.cli.checks import refused
from tests.engines.targets import target


def test_nothing_else_hits(calibrated_folder, tiny_folder, tmp_path):
    """A changed weight, shape, calibration, library, driver or GPU gives another key."""
    plan = plan_build(calibrated_folder, target(), "fp32", 1)
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
        replace(plan, machine=msgspec.structs.replace(machine, sm_count="16")),
        replace(plan, machine=msgspec.structs.replace(machine, memory_gb="64")),
        replace(plan, machine=msgspec.structs.replace(machine, model="NVIDIA Jetson Orin NX")),
        replace(plan, precision="fp16"),
        plan_build(tiny_folder, target(), "fp32", 1),
    ]
    keys = [p.build_key() for p in plans]
    assert len(set(keys)) == len(keys)
    spans = {"tokens": (1, 32, 64)}
    assert plan.part_key([spans], "fp32", "x") == plan.part_key([dict(spans)], "fp32", "x")
    assert plan.part_key([spans], "fp32", "x") != plan.part_key([{"tokens": (1, 16, 64)}], "fp32", "x")
    assert plan.part_key([spans], "fp32", "x") != plan.part_key([spans], "fp32", "x", "-a=off")
    assert plan.part_key([spans], "fp32", "x") != plan.part_key([spans], "fp32", "y")


def test_a_target_of_another_architecture(cli_here, calibrated_folder, tmp_path):
    name = "jetson-orin-nano" if platform.machine() == "x86_64" else "rtx"
    done = cli_here(
        "build-engine", calibrated_folder, "--target", name, "--precision", "fp16", "--output", tmp_path / "o"
    )
    refused(done, f"--target {name} is for")
    assert not (tmp_path / "o").exists()


def test_no_tensorrt_here(cli_here, calibrated_folder, tmp_path):
    done = cli_here("build-engine", calibrated_folder, "--target", "tensorrt", "--output", tmp_path / "o")
    refused(done, "tensorrt cannot be loaded")
    assert not (tmp_path / "o").exists()


def test_no_gpu_here(cli_here, calibrated_folder, tmp_path):
    done = cli_here("build-engine", calibrated_folder, "--target", "cuda", "--output", tmp_path / "o")
    refused(done, "a GPU is needed")


def test_engines_of_engines(built, tmp_path):
    with pytest.raises(EngineError, match="expected a bundle of graphs, got engines for cpu"):
        build_engine(built.bundle.folder, target(), "fp32", tmp_path / "o")
