"""Contenders on models of six streams of every kind and two outputs, whose heads take masks or do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.onnxruntime_model import OnnxRuntimeModel
from taemi_edge.bench.plan import timed_patterns
from taemi_edge.bench.runtime_model import RuntimeModel
from taemi_edge.bench.timed_model import TimedModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BackendError
from taemi_edge.runtime.tensorrt.driver import is_capturing
from taemi_edge.runtime.tensorrt.engine import Binding
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.mixed import HEADS, as_engines, mixed_profiles, write_mixed_bundle

CONTENDERS = {
    "runtime": lambda bundle: RuntimeModel(bundle, "cpu", 1),
    "onnxruntime": lambda bundle: OnnxRuntimeModel(bundle, "cpu", "fp32", 1),
}


@pytest.fixture(scope="module", params=["rings", "without masks"])
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_mixed_bundle(tmp_path_factory.mktemp("mixed") / "bundle", HEADS[request.param])


def errors(bundle: Bundle, model: TimedModel, sources: int = 1) -> Iterator[float]:
    """The error of each kind of window in each pattern that is timed."""
    window = Feeds(bundle).window()
    for kind in ("hop", "window"):
        for pattern in timed_patterns(bundle.manifest):
            with closing(model.window(kind, window, pattern, sources)) as run:
                run.run()
                run.run()
                expected = np.tile(window.expected[bundle.manifest.pattern_name(pattern)], (sources, 1))
                assert run.output().shape == (sources, 5)
                yield float(np.abs(run.output() - expected).max())


@pytest.mark.parametrize("name", CONTENDERS)
def test_windows_and_parts_give_what_the_model_gave(mixed: Bundle, name: str):
    with closing(CONTENDERS[name](mixed)) as model:
        assert max(errors(mixed, model)) < 1e-5
        for part in mixed.manifest.part_names:
            feeds, expected = Feeds(mixed).part(part, 3)
            with closing(model.part(part, feeds)) as run:
                run.run()
                assert np.abs(run.output() - expected).max() < 1e-5, part


def test_several_sources_share_a_call(mixed: Bundle):
    with closing(RuntimeModel(mixed, "cpu", 1)) as model:
        assert max(errors(mixed, model, sources=2)) < 1e-5


def test_engines_give_it_as_well(mixed: Bundle, monkeypatch: pytest.MonkeyPatch):
    stand_in_gpu.install(monkeypatch, mixed_profiles())
    engines = as_engines(mixed)
    with closing(RuntimeModel(engines, "tensorrt", 1)) as model:
        assert max(errors(engines, model)) < 1e-5
        feeds, expected = Feeds(engines).part("fusion", 1)
        with closing(model.part("fusion", feeds)) as run:
            run.run()
            assert np.abs(run.output() - expected).max() < 1e-5


def test_a_part_that_cannot_be_captured_is_timed_all_the_same(mixed: Bundle, monkeypatch: pytest.MonkeyPatch):
    stand_in_gpu.install(monkeypatch, mixed_profiles())
    engines, enqueue = as_engines(mixed), Binding.enqueue

    def refused(binding: Binding, stream) -> None:
        if is_capturing():
            raise BackendError("fusion: TensorRT failed: no kernel for a captured stream")
        enqueue(binding, stream)

    monkeypatch.setattr(Binding, "enqueue", refused)
    feeds, expected = Feeds(engines).part("fusion", 1)
    with closing(RuntimeModel(engines, "tensorrt", 1)) as model, closing(model.part("fusion", feeds)) as run:
        run.run()
        assert run.device_ms() > 0
        assert np.abs(run.output() - expected).max() < 1e-5


def test_many_streams_are_timed_complete_with_each_one_lost_and_without_any(mixed: Bundle):
    every = set(mixed.manifest.streams)
    few = timed_patterns(mixed.manifest)
    assert few[0] == every
    assert set(few) == {frozenset(every), frozenset(), *(frozenset(every - {name}) for name in every)}
    assert timed_patterns(mixed.manifest, every=True) == mixed.manifest.patterns


def test_a_hop_has_as_many_rows_of_each_kind_as_its_rate_says(mixed: Bundle):
    window = Feeds(mixed).window()
    # half a second of a window of two: 4 pictures a second, 8 clips, chunks of .5 s, a quarter of the 50 rows
    assert window.new == {"front": 2, "gait": 3, "mic": 1, "words": 1, "imu": 1, "heart": 13}
    assert window.length_s == pytest.approx(2.5)  # the samples are longer than the model's window


def test_of_rows_without_a_rate_as_many_are_timed_as_the_runtime_reads(mixed: Bundle):
    spec = msgspec.structs.replace(mixed.manifest.streams["heart"], max_rows=8)
    manifest = msgspec.structs.replace(mixed.manifest, streams={**mixed.manifest.streams, "heart": spec})
    fewer = Bundle(mixed.folder, manifest, mixed.tokens)
    window = Feeds(fewer).window()
    assert (len(window.rows["heart"]), window.new["heart"]) == (8, 2)
    assert window.expected == {}  # the model was not run on so few
    with closing(RuntimeModel(fewer, "cpu", 1)) as model:
        assert model.window("hop", window, manifest.patterns[0], 1).output().shape == (1, 5)
