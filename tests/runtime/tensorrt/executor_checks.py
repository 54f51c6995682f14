"""What holds of the runtime's GPU half, whatever the fixture `engines` runs on: a GPU, or the stand-ins for one."""

from __future__ import annotations

import threading

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.bundle.values import HEAD
from taemi_edge.errors import BackendError, EngineError
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.rings import RingIndex, Span
from taemi_edge.runtime.tensorrt import executor as trt_executor
from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.runtime.work import Item, Layout, Work
from tests.runtime.tensorrt.golden_window import GoldenWindow, Repeated


def assert_same(found, expected) -> None:
    """Bit for bit, by output."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert np.array_equal(found[name], values), (name, np.abs(found[name] - values).max())


def assert_close(found, expected, atol: float) -> None:
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() <= atol


def assert_all_close(found, expected, atol: float) -> None:
    """Each output within a tolerance."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert_close(found[name], values, atol)


def layout_of(bundle: Bundle, sources: int = 1) -> Layout:
    return Layout(sources, bundle.manifest.window.length_s, bundle.manifest.window.hop_s)


def repeated(bundle: Bundle, executor, pattern=None, kind="hop", sources: int = 1) -> Repeated:
    return Repeated(bundle, executor, pattern, kind, sources)


def a_chunked_stream(bundle: Bundle) -> str:
    """The name of a stream whose inputs are numbers, so that they may hold a NaN."""
    parts = bundle.manifest.parts
    return next(n for n in bundle.manifest.streams if parts[n].inputs[0].dtype == "float32")


@pytest.fixture(scope="module")
def executor(engines: Bundle):
    opened = TrtExecutor(engines, layout_of(engines), timed=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def uncaptured(engines: Bundle):
    opened = TrtExecutor(engines, layout_of(engines), graphs=False)
    yield opened
    opened.close()


@pytest.mark.parametrize("kind", ["hop", "window"])
def test_every_pattern_gives_what_pytorch_gave(engines: Bundle, executor, uncaptured, kind):
    window = GoldenWindow(engines)
    for pattern in engines.manifest.patterns:
        replayed, launched = (repeated(engines, e, pattern, kind) for e in (executor, uncaptured))
        for prepared in (replayed, launched):
            for _ in range(3):  # the second run of a new case captures it
                prepared.run()
            assert_all_close(prepared.output(), window.expected[pattern], atol=window.tolerance)
        assert_same(replayed.output(), launched.output())
        assert launched.executor.backend == "tensorrt"
        assert replayed.executor.backend == ("tensorrt+graph" if load_driver()[0] else "tensorrt")


def test_a_bound_token_is_the_token_fed(engines: Bundle, executor):
    """The head on the rings by address, and the same engine on the same values copied in: bit for bit."""
    manifest = engines.manifest
    with open_sessions(engines) as sessions:
        for pattern in manifest.patterns:
            prepared = repeated(engines, executor, pattern)
            prepared.run()
            feeds = {}
            for m, spec in manifest.streams.items():
                window = prepared.works[0].window.get(m)
                if window is None:
                    feeds[m] = engines.tokens[m][None].astype(np.float32)
                    mask = np.full((1, spec.missing.steps), spec.missing.mask, np.int32)
                elif executor._layout.reads_rings:
                    rows = executor.capacity[m]
                    feeds[m] = executor.features(0, m, Span(0, rows))[None]
                    mask = np.zeros((1, rows), np.int32)
                    mask[0, window.rows(rows)] = 1
                else:
                    feeds[m] = executor.features(0, m, window)[None]
                    mask = np.ones((1, window.count), np.int32)
                if manifest.head.masks:
                    feeds[f"{m}_mask"] = mask
            assert_same(prepared.output(), {n: values[0] for n, values in sessions[HEAD].run(feeds).items()})


def test_a_lost_stream_runs_no_encoder(engines: Bundle, executor):
    every = frozenset(engines.manifest.streams)
    for m in every:
        prepared = repeated(engines, executor, every - {m})
        prepared.run()
        assert m not in prepared.parts_ms()
        assert prepared.parts_ms()[HEAD] > 0


def test_sources_of_different_patterns_share_a_call(engines: Bundle):
    """Three sources, each with other streams: the same as each alone."""
    names = tuple(engines.manifest.streams)
    patterns = [frozenset(names), frozenset(names[1:2]), frozenset({names[0], names[-1]})]
    window = GoldenWindow(engines)
    executor = TrtExecutor(engines, layout_of(engines, 3))
    try:
        alone = [
            repeated(engines, executor, pattern, "window", sources=3).works[i] for i, pattern in enumerate(patterns)
        ]
        for _ in range(3):
            done = executor.execute(alone)
        for pattern, result in zip(patterns, done, strict=True):
            assert_all_close(result.outputs, window.expected[pattern], atol=window.tolerance)
    finally:
        executor.close()


def test_mapped_and_copied_memory_give_the_same(engines: Bundle):
    found = []
    for mapped in (False, True):
        executor = TrtExecutor(engines, layout_of(engines), mapped=mapped)
        assert executor.mapped == mapped
        found.append(repeated(engines, executor).output())
        executor.close()
    assert_same(*found)


def test_a_nan_in_an_input_is_told_and_leaves_the_rings_clean(engines: Bundle, executor):
    stream = a_chunked_stream(engines)
    prepared = repeated(engines, executor)
    good = prepared.works[0]
    [item] = good.items[stream]
    bad = Item({name: np.full_like(value, np.nan) for name, value in item.feeds.items()}, item.rows, item.skipped)
    [done] = executor.execute([Work(0, {stream: [bad]}, good.window)])
    assert done.faults == {stream}
    assert done.outputs is None
    assert np.isfinite(executor.features(0, stream, Span(0, executor.capacity[stream]))).all()
    prepared.run()
    assert all(np.isfinite(values).all() for values in prepared.output().values())


def test_more_inputs_than_the_engines_take_are_run_in_pieces(engines: Bundle, executor):
    stream = next(n for n, spec in engines.manifest.streams.items() if isinstance(spec, VideoSpec))
    found = GoldenWindow(engines).items(executor, stream)
    count, capacity = executor._layout.most[stream] + 3, executor.capacity[stream]
    rows = RingIndex(capacity).push_each([(float(i),) for i in range(count)])
    items = [Item(found[i % len(found)].feeds, rows[i], 1 - rows[i].count) for i in range(count)]
    executor.execute([Work(0, {stream: items}, fuse=False)])
    last = executor.features(0, stream, rows[-1])
    executor.execute([Work(0, {stream: [Item(items[-1].feeds, Span(0, 1))]}, fuse=False)])
    assert_close(last, executor.features(0, stream, Span(0, 1)), atol=0.05)


def test_more_sources_than_the_engines_take_say_how_to_build(engines: Bundle):
    with pytest.raises(BackendError, match=r"9 sources .* do not fit the engines: .*build-engine --sources 9"):
        TrtExecutor(engines, layout_of(engines, 9))


def test_another_thread_is_refused(executor):
    caught = []

    def call() -> None:
        try:
            executor.execute([Work(0, window={})])
        except BackendError as error:
            caught.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert caught
    assert "expected every call from the thread that opened the engines" in caught[0]


def test_too_little_memory_is_one_sentence(executor):
    with pytest.raises(BackendError, match=r"there is not enough memory on the GPU \(\d+ of \d+ MiB free\)"):
        executor._gpu.allocate(2**50)


def test_an_engine_that_disagrees_with_the_manifest_is_refused(engines: Bundle):
    parts, stream = engines.manifest.parts, next(iter(engines.manifest.streams))
    [tensor] = parts[stream].inputs
    wrong = msgspec.structs.replace(parts[stream], inputs=(msgspec.structs.replace(tensor, dtype="float16"),))
    manifest = msgspec.structs.replace(engines.manifest, parts={**parts, stream: wrong})
    words = rf"engine and the manifest disagree: {tensor.name}: expected float16 .*, got {tensor.dtype}"
    with pytest.raises(EngineError, match=words):
        open_sessions(Bundle(engines.folder, manifest, engines.tokens))


def test_wrong_feeds_are_named(engines: Bundle):
    stream, spec = next((n, s) for n, s in engines.manifest.streams.items() if isinstance(s, VideoSpec))
    with open_sessions(engines) as sessions:
        with pytest.raises(BackendError, match=r"pixels: expected uint8 .*, got float32"):
            sessions[stream].run({"pixels": np.zeros((1, 2, 2), np.float32)})
        with pytest.raises(BackendError, match="widen the target's profiles"):
            sessions[stream].run({"pixels": np.zeros((999, *spec.size_hw, 3), np.uint8)})


def test_ctrl_c_while_capturing_leaves_nothing_broken(engines: Bundle, monkeypatch):
    if load_driver()[0] is None:
        pytest.skip("cuda-bindings is not installed")
    enqueue = TrtExecutor._enqueue

    def interrupted(self, case, capturing):
        enqueue(self, case, capturing)
        if capturing:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrtExecutor, "_enqueue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TrtExecutor(engines, layout_of(engines))
    monkeypatch.undo()
    again = TrtExecutor(engines, layout_of(engines))
    repeated(engines, again).run()
    assert again.backend == "tensorrt+graph"
    again.close()


def test_what_cannot_be_captured_is_launched_and_says_so(engines: Bundle, executor, monkeypatch):
    if load_driver()[0] is None:
        pytest.skip("cuda-bindings is not installed")
    enqueue = TrtExecutor._enqueue

    def refusing(self, case, capturing):
        enqueue(self, case, capturing)
        if capturing and case.head is not None:
            raise BackendError("fusion: TensorRT failed inside a capture")

    monkeypatch.setattr(TrtExecutor, "_enqueue", refusing)
    launched = TrtExecutor(engines, layout_of(engines))
    prepared = [repeated(engines, each) for each in (launched, executor)]
    for one in prepared:
        one.run()
    assert launched.backend == "tensorrt"
    assert launched.why_uncaptured == "fusion: TensorRT failed inside a capture"
    assert_same(prepared[0].output(), prepared[1].output())
    launched.close()


def test_without_cuda_bindings_the_same_calls_run_and_say_so(engines: Bundle, monkeypatch):
    monkeypatch.setattr(trt_executor, "open_driver", lambda _: (None, "cuda-bindings cannot be loaded"))
    executor = TrtExecutor(engines, layout_of(engines), timed=True)
    prepared = repeated(engines, executor)
    prepared.run()
    assert executor.backend == "tensorrt"
    assert executor.why_uncaptured == "cuda-bindings cannot be loaded"
    assert executor.device_ms > 0
    executor.close()
