"""The runtime on TensorRT: windows on the GPU, tokens by address, graphs, several sources, a device that is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_way import RepeatedWindow
from taemi_edge.bundle import Bundle, open_bundle
from taemi_edge.errors import BackendError, EngineError
from taemi_edge.runtime import trt_executor
from taemi_edge.runtime.cuda_graphs import load_driver
from taemi_edge.runtime.executor import HostExecutor, Layout, Sound, Work
from taemi_edge.runtime.session import open_sessions
from taemi_edge.runtime.trt_executor import MAX_GRAPHS, TrtExecutor
from taemi_edge.spec import MODALITIES, PRESENCE_PATTERNS, pattern_name
from tests.gpu.conftest import BUNDLES, why_not

pytestmark = pytest.mark.gpu

if _reason := why_not():
    pytest.skip(f"the runtime's GPU half runs on a GPU with TensorRT: {_reason}", allow_module_level=True)

COMPLETE = PRESENCE_PATTERNS[0]
NEEDS_GRAPHS = pytest.mark.skipif(load_driver()[0] is None, reason="cuda-bindings is not installed")


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
            assert_close(result.intensities, expected, atol=window.tolerance)
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


def test_ten_thousand_hops_leave_memory_as_it_was(engines: Bundle, executor):
    prepared = [repeated(engines, executor, pattern) for pattern in PRESENCE_PATTERNS]
    for _ in range(20):
        for p in prepared:
            p.run()
    cuda = executor._gpu.cuda
    free_before, rss_before = cuda.mem_get_info()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for hop in range(10_000):
        prepared[hop % len(prepared)].run()
    assert cuda.mem_get_info()[0] >= free_before - 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before < 8 * 1024  # kB
    assert len(executor._graphs) <= MAX_GRAPHS


def test_a_nan_in_the_sound_is_told_and_leaves_the_rings_clean(engines: Bundle, executor):
    prepared = repeated(engines, executor)
    good = prepared.works[0]
    bad = Sound(np.full_like(good.sounds[0].samples, np.nan), good.sounds[0].rows)
    [done] = executor.execute([Work(0, sounds=[bad], window=good.window)])
    assert done.faults == {"audio"}
    assert done.intensities is None
    assert np.isfinite(executor.features(0, "audio", np.arange(executor.capacity["audio"]))).all()
    prepared.run()
    assert np.isfinite(prepared.output()).all()


def test_more_inputs_than_the_engines_take_are_run_in_pieces(engines: Bundle, executor):
    window = Feeds(engines).window()
    most = executor._most["vision"]
    frames = [window.pixels[i % len(window.pixels)] for i in range(most + 3)]
    rows = np.arange(len(frames), dtype=np.int32) % executor.capacity["vision"]
    executor.execute([Work(0, frames, rows, fuse=False)])
    last = executor.features(0, "vision", rows[-1:])
    executor.execute([Work(0, frames[-1:], np.zeros(1, np.int32), fuse=False)])
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


@NEEDS_GRAPHS
def test_ctrl_c_while_capturing_leaves_nothing_broken(engines: Bundle, monkeypatch):
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


# ------------------------------------------------------------------------------------- in processes of their own

ROOT = Path(__file__).parent.parent.parent

RUN_DEMO = """
import sys
from pathlib import Path
from taemi_edge.bundle import open_bundle
from taemi_edge.golden import demo_clip
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.sources import MediaFile
from taemi_edge.runtime.transcript import read_transcript

video, words = demo_clip()
def predictions(pipeline, hops=12, at_hop=lambda index: None):
    with MediaFile(video, 16_000, 5.0) as media:
        for index, hop in zip(range(hops), media.hops(0.5)):
            at_hop(index)
            yield pipeline.predict(hop)
def open_pipeline(folder):
    return Pipeline(open_bundle(Path(folder)), "demo", words=read_transcript(words, None), threads=1)
"""

#: A kernel that stops the GPU with an error that no later call in its context gets past.
TRAP = """
TRAP = b'''.version 7.8
.target sm_72
.address_size 64
.visible .entry stop() { trap; }
'''
def break_the_gpu():
    import pycuda.driver as cuda
    cuda.module_from_buffer(TRAP).get_function("stop")(block=(1, 1, 1), grid=(1, 1))
"""


def start(script: str, *words: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", RUN_DEMO + script, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def test_predictions_are_those_of_the_cpu(smallest: Path, graphs: Path):
    script = "\nwith open_pipeline(sys.argv[1]) as p:\n    print(*[x.to_json() for x in predictions(p)], sep='\\n')"
    on_gpu, on_cpu = (
        [msgspec.json.decode(line) for line in finish(start(script, folder)).splitlines()]
        for folder in (smallest, graphs)
    )
    tolerance = Feeds(open_bundle(smallest)).window().tolerance
    assert {line["backend"] for line in on_cpu} == {"cpu"}
    assert "tensorrt+graph" in {line["backend"] for line in on_gpu} or load_driver()[0] is None
    for a, b in zip(on_gpu, on_cpu, strict=True):
        assert (a["presence"], a["age_ms"]) == (b["presence"], b["age_ms"])
        assert_close(list(a["intensities"].values()), list(b["intensities"].values()), atol=tolerance)


def test_two_processes_share_the_gpu(smallest: Path):
    script = "\nwith open_pipeline(sys.argv[1]) as p:\n    print([x.intensities for x in predictions(p)])"
    first, second = (finish(process) for process in [start(script, smallest) for _ in range(2)])
    assert first == second


BESIDE = {
    "the CUDA runtime": """
from cuda.bindings import runtime
def fresh():
    status, place = runtime.cudaMalloc(1 << 20)
    assert int(status) == 0, status
    return place
def check(place):
    data = bytearray(1 << 20)
    assert int(runtime.cudaMemset(place, 7, 1 << 20)[0]) == 0
    kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert int(runtime.cudaMemcpy(data, place, 1 << 20, kind)[0]) == 0
    assert set(data) == {7}
""",
    "torch": """
import torch
def fresh():
    return torch.ones(1 << 20, device="cuda")
def check(ones):
    assert float((ones + 1).sum()) == 2 << 20
""",
}


@pytest.mark.parametrize("who", BESIDE)
def test_others_in_the_process_keep_their_memory(smallest: Path, who: str):
    """Opened before the runtime, used while it runs, and after it is closed."""
    pytest.importorskip({"torch": "torch"}.get(who, "cuda.bindings.runtime"), reason=f"{who} is not installed here")
    script = """
before = fresh()
with open_pipeline(sys.argv[1]) as p:
    found = [x.intensities for x in predictions(p, at_hop=lambda index: check(before))]
    inside = fresh()
check(before); check(inside); check(fresh())
print(len(found))
"""
    assert finish(start(BESIDE[who] + script, smallest)).split() == ["12"]


def test_after_an_exception_the_context_is_left_and_can_be_opened_again(smallest: Path):
    script = """
for _ in range(3):
    try:
        with open_pipeline(sys.argv[1]) as p:
            next(predictions(p))
            raise ValueError
    except ValueError:
        pass
import pycuda.driver as cuda
print(cuda.Context.get_current())
"""
    assert finish(start(script, smallest)).split() == ["None"]


def test_a_lost_gpu_is_replaced_by_the_cpu(smallest: Path):
    script = """
with open_pipeline(sys.argv[1]) as p:
    for x in predictions(p, at_hop=lambda index: index == 6 and break_the_gpu()):
        print(x.backend, x.presence["vision"], sum(x.intensities.values()) > 0)
    print(p.fleet.lost)
"""
    lines = finish(start(TRAP + script, smallest)).splitlines()
    assert [line.split()[0] for line in lines[6:12]] == ["cpu"] * 6
    assert all(line.endswith("live True") for line in lines[7:12])
    assert lines[12].startswith("the GPU was lost while ")
    assert lines[12].endswith("on the CPU")


def test_a_lost_gpu_without_a_cpu_bundle_stops_with_the_reason(smallest: Path, tmp_path: Path):
    script = """
import msgspec
from taemi_edge.errors import DeviceLostError
bundle = open_bundle(Path(sys.argv[1]))
gone = msgspec.structs.replace(bundle.manifest.engine, source="/nowhere")
bundle = type(bundle)(bundle.folder, msgspec.structs.replace(bundle.manifest, engine=gone), bundle.tokens)
try:
    with Pipeline(bundle, "demo", threads=1) as p:
        for x in predictions(p, at_hop=lambda index: index == 3 and break_the_gpu()):
            pass
except DeviceLostError as error:
    print(error)
"""
    out = finish(start(TRAP + script, smallest))
    assert "the GPU was lost while " in out
    assert "there is no bundle of graphs to go on with on the CPU" in out


def test_another_process_finds_the_gpu_as_before(smallest: Path):
    """A trap stays with the process that met it (resetting its primary context does not help): the next one is well."""
    broken = """
try:
    with open_pipeline(sys.argv[1]) as p:
        next(predictions(p, at_hop=lambda index: break_the_gpu()))
except Exception as error:
    print(type(error).__name__)
"""
    start(TRAP + broken, smallest).communicate(timeout=100)
    healthy = "\nwith open_pipeline(sys.argv[1]) as p:\n    print(*[x.backend for x in predictions(p, 3)])"
    assert finish(start(healthy, smallest)).split()[0].startswith("tensorrt")


@pytest.mark.parametrize("manifest", BUNDLES, ids=lambda file: file.parent.name)
def test_host_and_device_agree_on_steps(manifest: Path, smallest: Path):
    """The rings of the CPU's bundle and of the engines are of one size: a lost GPU's windows go on there."""
    graphs, built = open_bundle(manifest.parent), open_bundle(smallest)
    if graphs.manifest.name != built.manifest.name:
        pytest.skip("engines of this model were not built here")
    host = HostExecutor(graphs, layout_of(graphs), open_sessions(graphs, "cpu", 1))
    device = TrtExecutor(built, layout_of(built))
    assert host.capacity == device.capacity
    host.close()
    device.close()
