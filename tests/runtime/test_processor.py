"""What a processor's file says, and the product that counts where the file lies."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from taemi_edge.runtime import processor
from taemi_edge.runtime.processor import Processor, features, kernels_are_exact, saturates

INTEL = "processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu {flags}\n\n"
ARM = "processor\t: {n}\nFeatures\t: fp {flags}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"


@pytest.fixture(autouse=True)
def tried_anew():
    kernels_are_exact.cache_clear()
    yield
    kernels_are_exact.cache_clear()


def root_with(folder: Path, cpuinfo: str | bytes) -> Path:
    (folder / "proc").mkdir(parents=True)
    content = cpuinfo.encode() if isinstance(cpuinfo, str) else cpuinfo
    (folder / "proc/cpuinfo").write_bytes(content)
    return folder


def of(architecture: str, *names: str) -> Processor:
    return Processor(architecture=architecture, features=frozenset(names))


@pytest.fixture
def on(monkeypatch):
    """Let this machine be of another architecture."""
    return lambda name: monkeypatch.setattr(processor.platform, "machine", lambda: name)


def test_the_features_are_those_that_every_core_has(tmp_path, on):
    on("x86_64")
    hybrid = INTEL.format(n=0, flags="avx2 avx_vnni avx512f") + INTEL.format(n=1, flags="avx2 avx_vnni")
    found = features(root_with(tmp_path / "x86", hybrid))
    assert (found.name, found.features) == ("Intel(R) Xeon(R)", {"avx2", "avx_vnni"})
    on("aarch64")
    assert features(tmp_path / "x86").features == set(), "the file is that of an emulator's host"
    big_little = ARM.format(n=0, flags="asimd asimddp", part="0xd05") + ARM.format(
        n=1, flags="asimd asimddp i8mm bf16 sve", part="0xd4d"
    )
    found = features(root_with(tmp_path / "arm", big_little))
    assert (found.name, found.in_words) == ("ARM 0x41 0xd05", "asimd asimddp")


def test_without_a_file_nothing_is_known(tmp_path):
    assert features(tmp_path) == Processor(architecture=features().architecture)
    (tmp_path / "proc").mkdir()
    os.mkfifo(tmp_path / "proc/cpuinfo")
    assert features(tmp_path).features == set(), "a pipe is not waited for"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b"flags",
        b"flags\t: \xff\xfe avx2 \x1b[31mavx512_vnni\n",
        b"model name\t: " + b"x\x1b" * 5000 + b"\n",
        b":" * 100_000,
    ],
)
def test_what_is_no_list_of_features_gives_none(tmp_path, content):
    found = features(root_with(tmp_path, content))
    assert "avx512_vnni" not in found.features
    assert len(found.name) <= 400
    assert found.name.isprintable()


def test_a_huge_file_is_cut_at_a_line(tmp_path, monkeypatch, on):
    on("x86_64")
    core = INTEL.format(n=0, flags="avx2 avx512_vnni")
    monkeypatch.setattr(processor, "_MOST_BYTES", len(core) + core.index("avx512_vnni"))
    assert features(root_with(tmp_path, core * 3)).features == {"avx2", "avx512_vnni"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (of("x86_64", "avx2"), True),
        (of("x86_64", "avx512f", "avx512bw"), True),
        (of("x86_64"), True),
        (of("AMD64"), True),
        (of("x86_64", "avx2", "avx_vnni"), False),
        (of("x86_64", "avx512f", "avx512_vnni"), False),
        (of("x86_64", "amx_int8"), False),
        (of("aarch64"), False),
        (of("arm64", "asimddp"), False),
    ],
)
def test_only_x86_without_vnni_is_expected_to_saturate(found, expected):
    assert saturates(found) is expected


@pytest.mark.parametrize("product", [True, False])
@pytest.mark.parametrize("flags", [("avx2",), ("avx2", "avx512_vnni"), ()])
def test_the_product_counts_where_the_flags_lie(monkeypatch, caplog, product, flags):
    monkeypatch.setattr(processor, "features", lambda: of("x86_64", *flags))
    monkeypatch.setattr(processor, "_product_is_exact", lambda: product)
    with caplog.at_level(logging.WARNING, "taemi_edge.runtime"):
        assert [kernels_are_exact(), kernels_are_exact()] == [product, product]
    disagree = bool(flags) and product != ("avx512_vnni" in flags)
    assert len(caplog.messages) == disagree, "once, and not where nothing was known"
    if disagree:
        assert "a product of bytes comes out" in caplog.messages[0]


def test_without_a_product_the_flags_are_believed(monkeypatch):
    monkeypatch.setattr(processor, "_product_graph", lambda: b"no graph")
    monkeypatch.setattr(processor, "features", lambda: of("x86_64", "avx2"))
    assert not kernels_are_exact()


def test_the_product_can_be_computed_here():
    assert processor._product_is_exact() in (True, False)
    onnx = pytest.importorskip("onnx", reason="the graph is checked with onnx")
    onnx.checker.check_model(onnx.load_from_string(processor._product_graph()))
