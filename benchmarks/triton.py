"""What Triton adds to a hop, and how many hops of several sources it carries, beside the same runtime in process.

    python benchmarks/triton.py engines/taemi-mobile-cpu --output F.json [--plot F.png]

A real server (`tools/install_triton.sh`) serves the bundle at a queue delay of 0. Its clients, the server and the
runtime beside it share this machine, so whatever it does otherwise counts against all of them; each hop goes to the
server and to a `Fleet` in turn, and differences are those of a pair. The hops are those of the real clip of the tests,
with pictures of 640 x 480:

- frames: whole pictures in the request; the server finds the faces, as the `Fleet` beside it does
- frames in shared memory: the same, but the pictures lie in memory that client and server share
- crops: the client has cut out the faces, for both
- crops by HTTP: the same, by HTTP in place of gRPC
- camera lost: sound and words alone

Then 1, 2, 4 and 8 sources send hops with crops, and hops without a camera, as fast as they are answered.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import tritonclient.grpc as triton
import tritonclient.http
from tritonclient.utils import shared_memory

import taemi_edge as te
from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.streams import TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.crops import resize_whole
from taemi_edge.media.hops import Frame, Hop, SoundPiece
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.window import Source
from taemi_edge.scale.triton.config import ServingOptions
from taemi_edge.scale.triton.repository import export_repository
from tests.conftest import fetch_real_clip
from tests.scale.triton.asking import tensors_of
from tests.scale.triton.server import TritonServer, triton_server

MODEL, SIZE_HW, WARM_UP = "model", (480, 640), 10
TYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}
SOURCES = (1, 2, 4, 8)
#: The region of shared memory that pictures go through, and its size.
REGION, REGION_BYTES = "frames", 32 << 20

#: Makes the inputs of a request.
Pack = Callable[[Hop], list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--hops", type=int, default=100, help="of each row of the first table")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each number of sources")
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    given = parser.parse_args()
    bundle = te.open_bundle(given.bundle)
    hops = clip_hops(bundle, max(given.hops, 60))
    with tempfile.TemporaryDirectory() as place:
        export_repository(given.bundle, Path(place) / "repo", name=MODEL, options=ServingOptions(slots=max(SOURCES)))
        with triton_server(Path(place) / "repo") as server:
            rows = overheads(bundle, server, hops[: given.hops])
            carried = {
                name: [throughput(bundle, server, of, count, given.seconds) for count in SOURCES]
                for name, of in (("crops", as_crops(bundle, hops)), ("camera lost", camera_lost(bundle, hops)))
            }
    report = {
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "overhead": rows,
        "throughput": carried,
    }
    write_report(given.output, report, "tritonclient")
    if given.plot:
        plot(report, given.plot)


# --------------------------------------------------------------------------------------------------------------- hops


def clip_hops(bundle: te.Bundle, count: int) -> list[Hop]:
    """So many hops of the clip, which begins again where it ends; its pictures are scaled and its words invented."""
    streams, hop_s = bundle.manifest.streams, bundle.manifest.window.hop_s
    with te.MediaFile(fetch_real_clip(), streams=streams) as media:
        once = list(media.hops(hop_s))
    pictures = {id(frame): resize_whole(frame.image, SIZE_HW) for hop in once for frame in hop.frames}
    texts = [name for name, spec in streams.items() if isinstance(spec, TextSpec)]
    hops = []
    for number in range(count):
        hop, shift_s = once[number % len(once)], number // len(once) * once[-1].end_s
        pieces = {name: [moved(piece, shift_s, pictures) for piece in of] for name, of in hop.pieces.items()}
        end_s = hop.end_s + shift_s
        word = Word(end_s - 0.8 * hop_s, end_s - 0.4 * hop_s, ["so", "it", "is", "and", "we", "will"][number % 6])
        hops.append(Hop(end_s, {**pieces, **{name: [word] for name in texts}}))
    return hops


def moved(piece: Any, shift_s: float, pictures: dict[int, Array]) -> Any:
    if isinstance(piece, Frame):
        return Frame(piece.time_s + shift_s, pictures.get(id(piece), piece.image))
    return SoundPiece(piece.time_s + shift_s, piece.values)


def videos(bundle: te.Bundle) -> dict[str, VideoSpec]:
    return {name: spec for name, spec in bundle.manifest.streams.items() if isinstance(spec, VideoSpec)}


def as_crops(bundle: te.Bundle, hops: list[Hop]) -> list[Hop]:
    """The same hops with the crops of their pictures."""
    readers = {name: CropReader(spec) for name, spec in videos(bundle).items()}
    made = []
    for hop in hops:
        crops = {name: list(reader.crops(hop.pieces.get(name, []))) for name, reader in readers.items()}
        frames = {n: [Frame(c.time_s, c.pixels, True) for c in of if c.pixels is not None] for n, of in crops.items()}
        made.append(Hop(hop.end_s, {**hop.pieces, **frames}))
    return made


def camera_lost(bundle: te.Bundle, hops: list[Hop]) -> list[Hop]:
    gone = videos(bundle)
    kept = [{name: of for name, of in hop.pieces.items() if name not in gone} for hop in hops]
    return [Hop(hop.end_s, pieces, losses=dict.fromkeys(gone, "lost")) for hop, pieces in zip(hops, kept, strict=True)]


# ----------------------------------------------------------------------------------------------------------- requests


def arrays_of(bundle: te.Bundle, hop: Hop) -> dict[str, Array]:
    """The tensors of a hop; crops go under the name that says so."""
    tensors = tensors_of(bundle.manifest, hop)
    for name in videos(bundle):
        if hop.pieces.get(name) and hop.pieces[name][0].is_crop:
            tensors[f"{name}_crops"] = tensors.pop(name)
    return tensors


def sent(bundle: te.Bundle, hop: Hop, by: Any = triton) -> list[Any]:
    """Every tensor in the request, by gRPC or HTTP."""
    inputs = []
    for name, array in arrays_of(bundle, hop).items():
        inputs.append(by.InferInput(name, list(array.shape), TYPES[array.dtype.name]))
        inputs[-1].set_data_from_numpy(array)
    return inputs


@contextmanager
def through_shared_memory(bundle: te.Bundle, client: Any) -> Iterator[Pack]:
    """Pictures lie in a region that the server reads; the rest goes in the request."""
    key = f"/taemi-bench-{os.getpid()}"
    region = shared_memory.create_shared_memory_region(REGION, key, REGION_BYTES)
    client.register_system_shared_memory(REGION, key, REGION_BYTES)

    def pack(hop: Hop) -> list[Any]:
        pictures = {name: hop.pieces.get(name, []) for name in videos(bundle)}
        rest = Hop(hop.end_s, {name: of for name, of in hop.pieces.items() if name not in pictures})
        rest.losses.update(dict.fromkeys(pictures, "elsewhere"))
        inputs, offset = sent(bundle, rest), 0
        for name, frames in pictures.items():
            if frames:
                shape = [1, len(frames), *frames[0].image.shape]
                inputs.append(triton.InferInput(name, shape, "UINT8"))
                inputs[-1].set_shared_memory(REGION, int(np.prod(shape)), offset)
                shared_memory.set_shared_memory_region(region, [frame.image for frame in frames], offset)
                offset += int(np.prod(shape))
                times_s = np.array([[frame.time_s for frame in frames]])
                inputs.append(triton.InferInput(f"{name}_times_s", list(times_s.shape), "FP64"))
                inputs[-1].set_data_from_numpy(times_s)
        return inputs

    try:
        yield pack
    finally:
        client.unregister_system_shared_memory(REGION)
        shared_memory.destroy_shared_memory_region(region)


# ----------------------------------------------------------------------------------------------------------- overhead


def overheads(bundle: te.Bundle, server: TritonServer, hops: list[Hop]) -> list[dict[str, Any]]:
    """A row for each way that pictures go."""
    with ExitStack() as opened:
        client = opened.enter_context(triton.InferenceServerClient(server.grpc))
        fleet = opened.enter_context(te.Fleet(bundle, [Source("in process")]))
        by_http = opened.enter_context(tritonclient.http.InferenceServerClient(server.http))
        plain = partial(sent, bundle)
        shared = opened.enter_context(through_shared_memory(bundle, client))
        crops = as_crops(bundle, hops)
        ways: tuple[tuple[str, list[Hop], Pack, Any], ...] = (
            ("frames", hops, plain, client),
            ("frames in shared memory", hops, shared, client),
            ("crops", crops, plain, client),
            ("crops by HTTP", crops, partial(plain, by=tritonclient.http), by_http),
            ("camera lost", camera_lost(bundle, hops), plain, client),
        )
        return [overhead(asked, fleet, name, of, pack) for name, of, pack, asked in ways]


def overhead(client: Any, fleet: te.Fleet, name: str, hops: list[Hop], pack: Pack) -> dict[str, Any]:
    """Each hop in process and served, in turn; medians in milliseconds."""
    fleet.reset(0, Source("in process"))
    pairs = []
    for number, hop in enumerate(hops):
        first, last = number == 0, number == len(hops) - 1
        started = time.perf_counter()
        fleet.predict_one(0, hop)
        in_process = time.perf_counter()
        inputs = pack(hop)
        packed = time.perf_counter()
        answer = client.infer(MODEL, inputs, sequence_id=1, sequence_start=first, sequence_end=last)
        served = time.perf_counter()
        runtime_ms = json.loads(answer.as_numpy("prediction").tobytes())["latency_ms"]["total"]
        times = (in_process - started, served - in_process, packed - in_process)
        pairs.append([*(1e3 * each for each in times), runtime_ms])
    table = np.array(pairs[WARM_UP:])
    process, whole, packing, runtime = table.T
    row = {
        "pictures": name,
        "hops": len(table),
        "in_process_ms": median(process),
        "served_ms": median(whole),
        "overhead_ms": median(whole - process),
        "packing_ms": median(packing),
        "beyond_the_runtime_ms": median(whole - packing - runtime),
        # what other work on the machine does not reach: the least tenth of the hops
        "beyond_the_runtime_at_best_ms": round(float(np.percentile(whole - packing - runtime, 10)), 2),
    }
    print(json.dumps(row), flush=True)
    return row


def median(values: Array) -> float:
    return round(float(statistics.median(values)), 2)


# --------------------------------------------------------------------------------------------------------- throughput


def throughput(bundle: te.Bundle, server: TritonServer, hops: list[Hop], count: int, seconds: float) -> dict[str, Any]:
    """Hops a second of so many sources, served and in process, half of the time each."""
    row = {
        "sources": count,
        "served_hops_s": round(served_rate(bundle, server, hops, count, seconds / 2), 1),
        "in_process_hops_s": round(fleet_rate(bundle, hops, count, seconds / 2), 1),
    }
    print(json.dumps(row), flush=True)
    return row


def served_rate(bundle: te.Bundle, server: TritonServer, hops: list[Hop], count: int, seconds: float) -> float:
    """A thread and a connection for each source; the first hops of each are not counted."""
    over, done, problems = threading.Event(), [0] * count, []

    def stream(index: int) -> None:
        try:
            with triton.InferenceServerClient(server.grpc) as client:
                for number, hop in enumerate(endless(hops)):
                    ends = over.is_set()
                    client.infer(
                        MODEL,
                        sent(bundle, hop),
                        sequence_id=100 + index,
                        sequence_start=number == 0,
                        sequence_end=ends,
                    )
                    done[index] += 1
                    if ends:
                        return
        except Exception as error:  # noqa: BLE001 - told in the thread that waits
            problems.append(error)

    threads = [threading.Thread(target=stream, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    while min(done) < WARM_UP // 2 and not problems:
        time.sleep(0.01)
    before, started = sum(done), time.perf_counter()
    time.sleep(seconds)
    rate = (sum(done) - before) / (time.perf_counter() - started)
    over.set()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return rate


def fleet_rate(bundle: te.Bundle, hops: list[Hop], count: int, seconds: float) -> float:
    """All sources at once, as a run over several files does it."""
    with te.Fleet(bundle, [Source(str(index)) for index in range(count)]) as fleet:
        done, started = 0, 0.0
        for number, hop in enumerate(endless(hops)):
            if number == WARM_UP // 2:
                done, started = 0, time.perf_counter()
            fleet.predict({index: fleet.prepare(index, hop) for index in range(count)})
            done += count
            if number > WARM_UP // 2 and time.perf_counter() - started > seconds:
                return done / (time.perf_counter() - started)
    raise AssertionError("hops do not end")


def endless(hops: list[Hop]) -> Iterator[Hop]:
    """The hops again and again, on a clock that goes on."""
    shift_s = 0.0
    while True:
        for hop in hops:
            pieces = {name: [later(piece, shift_s) for piece in of] for name, of in hop.pieces.items()}
            yield Hop(hop.end_s + shift_s, pieces, losses=dict(hop.losses))
        shift_s += hops[-1].end_s


def later(piece: Any, shift_s: float) -> Any:
    if isinstance(piece, Word):
        return Word(piece.start_s + shift_s, piece.end_s + shift_s, piece.text)
    if isinstance(piece, Frame):
        return Frame(piece.time_s + shift_s, piece.image, piece.is_crop)
    return SoundPiece(piece.time_s + shift_s, piece.values)


def plot(report: dict[str, Any], target: Path) -> None:
    """Left: what a hop costs by the way of its pictures; right: hops a second by the number of sources."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    rows = report["overhead"][::-1]
    places = np.arange(len(rows))
    left.barh(places + 0.2, [row["in_process_ms"] for row in rows], 0.4, label="in process", color="#888888")
    left.barh(places - 0.2, [row["served_ms"] for row in rows], 0.4, label="served by Triton", color="#1f77b4")
    for place, row in zip(places, rows, strict=True):
        left.text(row["served_ms"], place - 0.2, f" {row['overhead_ms']:+} ms", va="center", fontsize=8)
    left.set_yticks(places, [row["pictures"] for row in rows])
    left.set_xlabel("ms a hop (median)")
    left.margins(x=0.2)
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    for (name, lines), colour in zip(report["throughput"].items(), ("#1f77b4", "#d62728"), strict=True):
        sources = [row["sources"] for row in lines]
        right.plot(sources, [row["served_hops_s"] for row in lines], "o-", color=colour, label=f"{name}, served")
        ours = [row["in_process_hops_s"] for row in lines]
        right.plot(sources, ours, "o--", color=colour, alpha=0.5, label=f"{name}, in process")
    right.set_xscale("log", base=2)
    right.set_xticks(SOURCES, [str(count) for count in SOURCES])
    right.set_xlabel("sources")
    right.set_ylabel("hops a second")
    right.set_ylim(bottom=0)
    right.legend(fontsize=8)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
