"""What holds of the runtime's GPU half, whatever the fixture `engines` runs on: a GPU, or the stand-ins for one."""

from __future__ import annotations

import threading

import msgspec
import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RepeatedWindow
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.errors import BackendError, EngineError
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.tensorrt import executor as trt_executor
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.runtime.tensorrt.graphs import load_driver
from taemi_edge.runtime.work import Item, Layout, Work

COMPLETE = PRESENCE_PATTERNS[0]


def assert_same(found, expected) -> None:
    assert np.array_equal(found, expected), np.abs(np.asarray(found) - expected).max()


def assert_close(found, expected, atol: float) -> None:
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() <= atol


def layout_of(bundle: Bundle, sources: int = 1) -> Layout:
    return Layout(sources, bundle.manifest.window.length_s, bundle.manifest.window.hop_s)


def repeated(bundle: Bundle, executor, pattern=COMPLETE, kind="hop", sources: int = 1) -> RepeatedWindow:
    return RepeatedWindow(executor, bundle.manifest, kind, Feeds(bundle).window(), pattern, sources)


@pytest.fixture(scope="module")
def executor(engines: Bundle):
    opened = TrtExecutor(engines, layout_of(engines))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def uncaptured(engines: Bundle):
    opened = TrtExecutor(engines, layout_of(engines), graphs=False)
    yield opened
    opened.close()


@pytest.mark.parametrize("kind", ["hop", "window"])
@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=pattern_name)
def test_every_pattern_gives_what_pytorch_gave(engines: Bundle, executor, uncaptured, pattern, kind):
    window = Feeds(engines).window()
    replayed, launched = (repeated(engines, e, pattern, kind) for e in (executor, uncaptured))
    for prepared in (replayed, launched):
        for _ in range(3):  # the second run of a new case captures it
            prepared.run()
        found = prepared.output()[0]
        assert_close(found, window.expected[pattern_name(pattern)], atol=window.tolerance)
    assert_same(replayed.output(), launched.output())
    assert launched.executor.backend == "tensorrt"
    assert replayed.executor.backend == ("tensorrt+graph" if load_driver()[0] else "tensorrt")


@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=pattern_name)
def test_a_bound_token_is_the_token_fed(engines: Bundle, executor, pattern):
    """The head on the rings by address, and the same engine on the same values copied in: bit for bit."""
    prepared = repeated(engines, executor, pattern)
    prepared.run()
    feeds = {}
    for m in MODALITIES:
        if m in pattern:
            rows = executor.capacity[m]
            feeds[m] = executor.features(0, m, np.arange(rows))[None]
            mask = np.zeros((1, rows), np.int32)
            mask[0, prepared.works[0].window[m]] = 1
        else:
            feeds[m], mask = engines.tokens[m][None, None].astype(np.float32), np.ones((1, 1), np.int32)
        feeds[f"{m}_mask"] = mask
    with open_sessions(engines) as sessions:
        fed = sessions["fusion"].run(feeds)["intensities"]
    assert_same(prepared.output(), fed)


def test_a_lost_stream_runs_no_encoder(engines: Bundle, executor):
    for m in MODALITIES:
        prepared = repeated(engines, executor, COMPLETE - {m})
        prepared.run()
        assert m not in prepared.parts_ms()
        assert prepared.parts_ms()["fusion"] > 0


def test_sources_of_different_patterns_share_a_call(engines: Bundle):
    """Three sources, each with other streams: the same as each alone."""
    patterns = [COMPLETE, frozenset({"audio"}), frozenset({"vision", "text"})]
    window = Feeds(engines).window()
    executor = TrtExecutor(engines, layout_of(engines, 3))
    try:
        alone = [
            repeated(engines, executor, pattern, "window", sources=3).works[i] for i, pattern in enumerate(patterns)
        ]
        for _ in range(3):
            done = executor.execute(alone)
        for pattern, result in zip(patterns, done, strict=True):
            expected = window.expected[pattern_name(pattern)]
            assert_close(result.outputs["intensities"], expected, atol=window.tolerance)
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


def test_a_nan_in_the_sound_is_told_and_leaves_the_rings_clean(engines: Bundle, executor):
    prepared = repeated(engines, executor)
    good = prepared.works[0]
    sound = good.items["audio"][0]
    bad = Item({"samples": np.full_like(sound.feeds["samples"], np.nan)}, sound.rows)
    [done] = executor.execute([Work(0, {"audio": [bad]}, good.window)])
    assert done.faults == {"audio"}
    assert done.outputs is None
    assert np.isfinite(executor.features(0, "audio", np.arange(executor.capacity["audio"]))).all()
    prepared.run()
    assert np.isfinite(prepared.output()).all()


def test_more_inputs_than_the_engines_take_are_run_in_pieces(engines: Bundle, executor):
    window = Feeds(engines).window()
    most = executor._layout.most["vision"]
    rows = np.arange(most + 3, dtype=np.int32) % executor.capacity["vision"]
    frames = [Item({"pixels": window.pixels[i % len(window.pixels)]}, rows[i : i + 1]) for i in range(most + 3)]
    executor.execute([Work(0, {"vision": frames}, fuse=False)])
    last = executor.features(0, "vision", rows[-1:])
    again = Item(frames[-1].feeds, np.zeros(1, np.int32))
    executor.execute([Work(0, {"vision": [again]}, fuse=False)])
    assert_close(last, executor.features(0, "vision", np.zeros(1, np.int64)), atol=0.05)


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
    parts = engines.manifest.parts
    [pixels] = parts.vision.inputs
    wrong = msgspec.structs.replace(pixels, dtype="float32", shape=("frames", 32, 32, 3))
    vision = msgspec.structs.replace(parts.vision, inputs=(wrong,))
    manifest = msgspec.structs.replace(engines.manifest, parts=msgspec.structs.replace(parts, vision=vision))
    with pytest.raises(EngineError, match=r"engine and the manifest disagree: pixels: expected float32 .*, got uint8"):
        open_sessions(Bundle(engines.folder, manifest, engines.tokens))


def test_wrong_feeds_are_named(engines: Bundle):
    with open_sessions(engines) as sessions:
        with pytest.raises(BackendError, match=r"pixels: expected uint8 .*, got float32"):
            sessions["vision"].run({"pixels": np.zeros((1, 2, 2), np.float32)})
        height, width = engines.manifest.vision.size_hw
        with pytest.raises(BackendError, match="widen the target's profiles"):
            sessions["vision"].run({"pixels": np.zeros((999, height, width, 3), np.uint8)})


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


def test_without_cuda_bindings_the_same_calls_run_and_say_so(engines: Bundle, monkeypatch):
    monkeypatch.setattr(trt_executor, "load_driver", lambda: (None, "cuda-bindings cannot be loaded"))
    executor = TrtExecutor(engines, layout_of(engines))
    prepared = repeated(engines, executor)
    prepared.run()
    assert executor.backend == "tensorrt"
    assert executor.why_uncaptured == "cuda-bindings cannot be loaded"
    assert executor.device_ms > 0
    executor.close()
