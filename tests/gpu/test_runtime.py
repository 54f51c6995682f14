"""The runtime on TensorRT: windows on the GPU, tokens by address, graphs, several sources, a device that is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.values import end_to_end_tolerance
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.runtime.tensorrt.graphs import MAX_GRAPHS
from tests.gpu.conftest import BUNDLES, why_not
from tests.runtime.tensorrt.executor_checks import *  # noqa: F403  the tests that hold of any GPU
from tests.runtime.tensorrt.executor_checks import assert_close, layout_of, repeated

pytestmark = pytest.mark.gpu

if _reason := why_not():
    pytest.skip(f"the runtime's GPU half runs on a GPU with TensorRT: {_reason}", allow_module_level=True)


def test_ten_thousand_hops_leave_memory_as_it_was(engines: Bundle, executor):
    prepared = [repeated(engines, executor, pattern) for pattern in engines.manifest.patterns]
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


# ------------------------------------------------------------------------------------- in processes of their own

ROOT = Path(__file__).parent.parent.parent

RUN_DEMO = """
import sys
from pathlib import Path
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.parity.golden import demo_clip
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.window import Source
from taemi_edge.media.files import MediaFile
from taemi_edge.media.transcripts import read_transcript

video, words = demo_clip()
def predictions(pipeline, hops=12, at_hop=lambda index: None):
    with MediaFile(video, streams=pipeline.fleet.manifest.streams) as media:
        for index, hop in zip(range(hops), media.hops(0.5)):
            at_hop(index)
            yield pipeline.predict(hop)
def open_pipeline(folder):
    return Pipeline(open_bundle(Path(folder)), Source("demo", read_transcript(words, None)), threads=1)
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
    tolerance = end_to_end_tolerance(open_bundle(smallest).manifest.tolerances).max_abs
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
