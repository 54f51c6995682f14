"""The benchmark as a command: contenders in processes of their own, on the CPU against ONNX Runtime and PyTorch."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taemi_edge.bench.report import OURS, BenchReport
from taemi_edge.bundle.folder import Bundle


@pytest.fixture(scope="module")
def report(cli, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, Path, str]:
    folder = tmp_path_factory.mktemp("bench")
    words = ["--runs", 5, "--sources", "1,3", "--batch", "vision=4"]
    done = cli("bench", tiny_folder, *words, "--json", folder / "b.json", "--plot", folder / "b.png")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode((folder / "b.json").read_bytes(), type=BenchReport), folder, done.stdout


def test_every_contender_is_timed_and_held_against_pytorch(report):
    found, _, _ = report
    pytest.importorskip("torch", reason="PyTorch is one of the contenders")
    assert list(found.contenders) == [OURS, "onnxruntime-cpu fp32", "torch-eager fp32"]
    assert found.not_run == {}
    for timings in (*(p.timings for p in found.parts), *(w.timings for w in found.windows)):
        assert [t.contender for t in timings] == list(found.contenders)
        for timing in timings:
            assert timing.failure == ""
            assert timing.wall.runs == 5
            assert 0 < timing.wall.median <= timing.wall.p99
            assert timing.max_abs < 1e-4


def test_parts_batches_patterns_and_sources_are_all_there(report, tiny: Bundle):
    found, _, _ = report
    assert [(p.part, p.batch) for p in found.parts] == [
        ("vision", 1),
        ("vision", 4),
        ("audio", 1),
        ("text", 1),
        ("fusion", 1),
    ]
    patterns = [tiny.manifest.pattern_name(p) for p in tiny.manifest.patterns]
    assert len(patterns) == 8
    assert [(w.kind, w.pattern) for w in found.windows] == [(k, p) for k in ("hop", "window") for p in patterns]
    assert [s.sources for s in found.sources] == [1, 3]
    assert found.sources[0].throughput_ratio == 1.0
    assert found.sources[1].predictions_per_s == pytest.approx(3e3 / found.sources[1].timing.wall.median, rel=1e-3)
    assert found.ratios.keys() == found.contenders.keys() - {OURS}
    assert found.overhead_ms > 0


def test_a_part_is_held_against_the_ceilings_that_were_measured(report):
    found, _, _ = report
    pytest.importorskip("onnx", reason="graphs are counted with onnx")
    assert found.ceilings["copy_gb_s"] > 0.5
    one, four = found.parts[:2]
    assert four.operations == 4 * one.operations
    for part in found.parts:
        assert part.share is None if found.noise.busy else 0 < part.share <= 1  # tests share their cores
        seconds = max(
            part.bytes / (found.ceilings["copy_gb_s"] * 1e9), part.operations / (found.ceilings["fp32_tflop_s"] * 1e12)
        )
        assert part.limit_ms == pytest.approx(1e3 * seconds, rel=0.1)


def test_tables_and_picture_say_the_same(report):
    found, folder, out = report
    assert "parts, feeds on the device" in out
    assert "several sources in one call" in out
    for name, ratio in found.ratios.items():
        assert f"takes {name} {ratio:.2f} x as long" in out
    assert (folder / "b.png").stat().st_size > 20_000
