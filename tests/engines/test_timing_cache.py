"""What TensorRT measured, kept between builds: a file that does not fit changes no build, and is replaced.

The builds run in this process on a stand-in for TensorRT; two of them through the command line.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

pytest.importorskip("onnxruntime")

from taemi_edge.bundle.folder import Bundle, read_manifest
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.compiler import BuildOptions, Compiler
from taemi_edge.engines.profiles import part_profiles
from taemi_edge.engines.timing_cache import TimingFile, keep_times, timing_file
from taemi_edge.parity.golden import load_cases
from taemi_edge.runtime.tensorrt.machine import Machine, this_machine
from tests.engines.stand_in_builder import MAGIC
from tests.engines.targets import target

ORIN = Machine(architecture="aarch64", gpu="Orin", sm="8.7", sm_count="8", memory_gb="8", cuda="12.6", driver="540.4.0")


@pytest.fixture
def compile_head(builder, tiny: Bundle, tmp_path) -> Callable[[], TimingFile]:
    """Build one part with a timing cache; gives the file that it used."""
    spans = part_profiles(tiny.manifest, target("tensorrt"), load_cases(tiny.golden_file))["fusion"]
    file = timing_file(EngineCache(tmp_path / "cache"), "tensorrt 0.0.0", ORIN)

    def run() -> TimingFile:
        options = BuildOptions(spans=spans, timing_cache=file)
        assert Compiler("tensorrt").compile(tiny.read_part("fusion"), "fp32", options) == tiny.read_part("fusion")
        return file

    return run


def test_a_build_starts_with_what_the_last_one_measured(compile_head, builder, caplog):
    for _ in range(3):
        file = compile_head()
    assert builder.started_with == [MAGIC, MAGIC + b"one more;", MAGIC + 2 * b"one more;"]
    assert file.read() == MAGIC + 3 * b"one more;"
    assert not caplog.records


@pytest.mark.parametrize("damage", ["cut", "emptied", "another one's", "of another version"])
def test_a_file_that_is_cut_or_not_ours_never_reaches_tensorrt(compile_head, builder, tmp_path, caplog, damage: str):
    name = compile_head().name
    file = tmp_path / "cache" / "timing" / name
    kept = file.read_bytes()
    EngineCache(tmp_path / "other").write_times(name, MAGIC + b"planted")
    content = {
        "cut": kept[: len(kept) // 2],
        "emptied": b"",
        "another one's": (tmp_path / "other" / "timing" / name).read_bytes(),
        "of another version": MAGIC + b"raw, as versions of before wrote it",
    }
    file.write_bytes(content[damage])
    compile_head()
    assert builder.started_with[-1] == MAGIC
    assert [record.getMessage() for record in caplog.records] == [
        f"the timing cache {name} is cut or not ours: it is replaced, and this build measures all kernels"
    ]
    assert compile_head().read() == MAGIC + 2 * b"one more;"


@pytest.mark.parametrize("refusal", ["none", "raised", "not taken"])
def test_times_that_tensorrt_refuses_are_replaced(compile_head, builder, caplog, refusal: str):
    compile_head().write(b"of another TensorRT")
    builder.refusal = refusal
    assert compile_head().read() == MAGIC + b"one more;"
    assert builder.started_with[-1] == MAGIC
    [record] = caplog.records
    assert "does not fit and is replaced: " in record.getMessage()


def test_a_tensorrt_that_takes_no_times_builds_all_the_same(compile_head, builder, caplog):
    builder.takes_times = False
    assert compile_head().read() == b""
    assert [record.getMessage() for record in caplog.records] == ["this build keeps no times: TensorRT refuses it"]


def test_times_that_cannot_be_had_end_no_build(tmp_path, caplog):
    class Broken:
        def serialize(self) -> bytes:
            raise MemoryError("no memory")

    file = timing_file(EngineCache(tmp_path), "tensorrt 10.3.0", ORIN)
    keep_times(Broken(), file)
    assert "TensorRT does not give them (no memory)" in caplog.text
    assert file.read() == b""


def test_each_library_gpu_cuda_and_driver_has_a_file(tmp_path):
    cache = EngineCache(tmp_path)
    changes = [
        {},
        {"gpu": "Orin NX"},
        {"sm_count": "16"},
        {"memory_gb": "16"},
        {"model": "NVIDIA Jetson Orin NX"},
        {"cuda": "13.0"},
        {"driver": "540.3.0"},
        {"sm": "8.6"},
        {"gpu": "Orin/NX"},
        {"gpu": "../../" + "x" * 400},
    ]
    names = [timing_file(cache, "tensorrt 10.3.0", msgspec.structs.replace(ORIN, **change)).name for change in changes]
    names.append(timing_file(cache, "tensorrt 10.3.0.30", ORIN).name)
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 200
        assert "/" not in name


def test_build_engine_goes_on_without_a_cut_timing_cache(build, builder, tmp_path):
    name = timing_file(EngineCache(), "tensorrt 0.0.0", this_machine()).name
    file = tmp_path / "cache" / "timing" / name
    EngineCache(tmp_path / "cache").write_times(name, MAGIC + b"measured;")
    file.write_bytes(file.read_bytes()[:-4])
    code, notes = build()
    assert code == 0
    assert len(notes) == 1
    assert f"note: the timing cache {name} is cut or not ours: it is replaced" in notes[0]
    assert builder.started_with[0] == MAGIC
    assert read_manifest(tmp_path / "o").verified


def test_build_engine_goes_on_without_a_cache_that_cannot_be_written(build, tmp_path):
    """Also for root, who may write into every folder: files stand where the cache's folders should be."""
    cache = tmp_path / "cache"
    EngineCache(cache).read_part("makes the secret")
    for folder in ("parts", "bundles", "timing"):
        (cache / folder).write_bytes(b"")
    code, notes = build()
    assert code == 0
    assert len(notes) == 1
    assert notes[0].startswith(f"note: the engine cache {cache} is not used (")
    assert "set TAEMI_EDGE_CACHE to another folder" in notes[0]
    assert read_manifest(tmp_path / "o").verified
