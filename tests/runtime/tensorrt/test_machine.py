"""Which machine this is: modules that all call their GPU "Orin", and files that hold what nobody expects."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.runtime.tensorrt.machine import (
    Machine,
    described,
    device_model,
    is_same_device,
    is_same_machine,
    l4t_release,
    sold_memory_gb,
    this_machine,
    way_back,
)
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.jetsons import AGX_ORIN_30_W, AGX_ORIN_64, JETSONS, ORIN_NANO_8, ORIN_NX_16, Jetson


def machine_of(jetson: Jetson, root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """What a module says of itself to this code."""
    device = stand_in_gpu.install(monkeypatch, {})
    device.name, device.capability = jetson.gpu, jetson.capability
    device.sm_count, device.memory_bytes = jetson.sm_count, jetson.memory_mib[0] << 20
    return this_machine(root=jetson.write(root))


@pytest.mark.parametrize("jetson", JETSONS, ids=lambda jetson: jetson.name)
def test_a_module_is_known_by_its_size_and_its_device_tree(jetson: Jetson, tmp_path, monkeypatch):
    found = machine_of(jetson, tmp_path, monkeypatch)
    assert (found.gpu, found.sm) == (jetson.gpu, "{}.{}".format(*jetson.capability))
    assert (found.sm_count, found.memory_gb, found.model) == (str(jetson.sm_count), jetson.memory_gb, jetson.name)
    assert found.l4t.startswith("R3")
    for part in (jetson.gpu, jetson.name, f"{jetson.sm_count} SMs", f"{jetson.memory_gb} GB"):
        assert part in described(found)


def test_engines_of_one_module_are_not_those_of_another(tmp_path, monkeypatch):
    found = [machine_of(jetson, tmp_path / str(i), monkeypatch) for i, jetson in enumerate(JETSONS)]
    for one, other in combinations(found, 2):
        assert not is_same_device(msgspec.to_builtins(one), other), (described(one), described(other))
    for machine in found:
        assert is_same_device(msgspec.to_builtins(machine), machine)
        assert is_same_machine(msgspec.to_builtins(machine), machine)


def test_what_a_manifest_of_before_does_not_name_is_not_compared(tmp_path, monkeypatch):
    nano = machine_of(ORIN_NANO_8, tmp_path, monkeypatch)
    older = {name: getattr(nano, name) for name in ("architecture", "processor", "gpu", "sm", "driver", "cuda", "l4t")}
    assert is_same_device(older, nano)
    assert is_same_machine(older, nano)
    assert not is_same_machine({**older, "driver": "540.3.0"}, nano)
    assert not is_same_device({**older, "sm": "8.6"}, nano)
    assert is_same_device({**older, "of": "a later version"}, nano)


def test_a_container_may_hide_the_device_tree(tmp_path, monkeypatch):
    outside = machine_of(ORIN_NX_16, tmp_path, monkeypatch)
    inside = msgspec.structs.replace(outside, model="", l4t="")
    assert is_same_device(msgspec.to_builtins(outside), inside)
    assert is_same_device(msgspec.to_builtins(inside), outside)


@pytest.mark.parametrize("jetson", JETSONS, ids=lambda jetson: jetson.name)
def test_what_a_kernel_reserves_changes_no_identity(jetson: Jetson):
    for memory_mib in jetson.memory_mib:
        for reserved_mib in (0, 64, 200):
            assert sold_memory_gb((memory_mib - reserved_mib) << 20) == jetson.memory_gb


@given(st.integers(1, 1 << 44))
def test_memory_is_never_rounded_down(memory_bytes: int):
    rounded = int(sold_memory_gb(memory_bytes)) << 30
    assert memory_bytes <= rounded <= max(2 << 30, memory_bytes * 2 + (1 << 30))


@given(st.binary(max_size=300))
def test_whatever_the_device_tree_holds_is_a_short_line(tmp_path_factory, content: bytes):
    root = tmp_path_factory.getbasetemp() / "any"
    for place in ("proc/device-tree/model", "etc/nv_tegra_release"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content)
    for text in (device_model(root), l4t_release(root)):
        assert len(text) <= 100
        assert text.isprintable()
        text.encode()


def test_a_name_without_an_end_and_one_that_never_comes(tmp_path):
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"A" * (3 << 20))
    assert device_model(tmp_path) == "A" * 100
    model.unlink()
    os.mkfifo(model)  # nobody writes into it
    assert device_model(tmp_path) == ""
    model.unlink()
    model.mkdir()
    assert device_model(tmp_path) == ""
    model.rmdir()
    model.write_bytes(b"Orin\x1b[31m\nNano\0GPU of another\0")
    assert device_model(tmp_path) == "Orin?[31m?Nano"


def test_a_machine_without_any_of_these_files(tmp_path):
    found = this_machine(with_gpu=False, root=tmp_path)
    assert (found.model, found.l4t, found.processor) == ("", "", "")
    assert described(found) == f"a machine without a GPU ({found.architecture})"


def test_only_the_power_mode_differs(tmp_path, monkeypatch):
    whole = machine_of(AGX_ORIN_64, tmp_path / "a", monkeypatch)
    half = machine_of(AGX_ORIN_30_W, tmp_path / "b", monkeypatch)
    assert not is_same_device(msgspec.to_builtins(whole), half)
    assert "the power mode that they were built in" in way_back(msgspec.to_builtins(whole), half)
    nx = machine_of(ORIN_NX_16, tmp_path / "c", monkeypatch)
    assert "power mode" not in way_back(msgspec.to_builtins(whole), nx)
