"""Engines that were built on another Jetson, through the command line, on stand-ins for the GPU and for TensorRT."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import open_bundle, read_manifest, write_manifest
from taemi_edge.engines import plan
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.tensorrt import gpu as opened_gpu
from taemi_edge.runtime.tensorrt.machine import this_machine
from tests.runtime.tensorrt.jetsons import AGX_ORIN_64, ORIN_NANO_8, Jetson


@pytest.fixture
def become(gpu, tmp_path, monkeypatch):
    """Let this machine be a Jetson, as far as its files and CUDA say."""

    def be(jetson: Jetson) -> None:
        root = jetson.write(tmp_path / "root")
        gpu.name, gpu.capability = jetson.gpu, jetson.capability
        gpu.sm_count, gpu.memory_bytes = jetson.sm_count, jetson.memory_mib[0] << 20
        for module in (plan, opened_gpu):
            monkeypatch.setattr(module, "this_machine", lambda with_gpu=True: this_machine(with_gpu, root))

    return be


def machine_in(folder: Path) -> dict[str, str]:
    return read_manifest(folder).engine.machine


def forget_all_but_the_gpu(folder: Path) -> None:
    """Let the manifest say what those of older versions said."""
    manifest = read_manifest(folder)
    older = {k: v for k, v in manifest.engine.machine.items() if k not in ("sm_count", "memory_gb", "model")}
    engine = msgspec.structs.replace(manifest.engine, machine=older)
    write_manifest(folder, msgspec.structs.replace(manifest, engine=engine))


def test_engines_of_another_orin_are_refused_and_rebuilt(become, build, command, demo_video, tmp_path):
    become(AGX_ORIN_64)
    assert build() == (0, [])
    engines = tmp_path / "o"
    assert machine_in(engines)["sm_count"] == "16"
    become(ORIN_NANO_8)
    code, [*_, said] = command("run", engines, demo_video)
    assert code == 2
    assert said.startswith(f"taemi-edge: {engines} was built for tensorrt 0.0.0 on Orin (")
    assert "16 SMs, 64 GB, NVIDIA Jetson AGX Orin Developer Kit), found tensorrt 0.0.0 on Orin (" in said
    assert said.endswith(
        "8 SMs, 8 GB, NVIDIA Jetson Orin Nano Developer Kit): build it on this device with `taemi-edge "
        "build-engine`, or pass --rebuild"
    )
    code, _ = command("run", engines, demo_video, "--rebuild", "--output", tmp_path / "lines.jsonl")
    assert code == 0
    assert (machine_in(engines)["sm_count"], machine_in(engines)["memory_gb"]) == ("8", "8")
    assert (tmp_path / "lines.jsonl").read_text()
    forget_all_but_the_gpu(engines)
    with open_sessions(open_bundle(engines)):
        pass  # as engines that a version of before built
