"""A real Triton server gives what the runtime gives in process: two models, by gRPC and HTTP, whatever is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the extra `triton`")
pytest.importorskip("torch", reason="the models are exported with torch")

import tritonclient.grpc
import tritonclient.http

import taemi_edge as te
from taemi_edge.bundle.folder import Bundle, open_bundle, write_manifest
from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Hop
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.scale.triton.config import ServingOptions
from taemi_edge.scale.triton.repository import export_repository
from taemi_edge.scale.triton.requests import LEFT_OUT
from taemi_edge.scale.triton.tensors import STATES
from tests.runtime.tensorrt.mixed import HEADS, write_mixed_bundle
from tests.scale.triton.asking import HOP_S, hops_of_noise, infer, tensors_of
from tests.scale.triton.server import ROOT, TritonServer, triton_server

pytestmark = [pytest.mark.once, pytest.mark.slow]

HOPS = 6
STREAMS = ("front", "gait", "mic", "imu", "heart")


@dataclass(frozen=True, eq=False)
class Served:
    """Two models behind a server: TAEMI, and one with five streams of which one is required."""

    server: TritonServer
    bundles: dict[str, Bundle]
    hops: dict[str, list[Hop]]

    def client(self, by: str) -> Any:
        if by == "grpc":
            return tritonclient.grpc.InferenceServerClient(self.server.grpc)
        return tritonclient.http.InferenceServerClient(self.server.http, network_timeout=60, connection_timeout=60)


@pytest.fixture(scope="module")
def served(
    tiny_folder: Path, demo_video: Path, demo_vtt: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    mixed = write_mixed_bundle(folder / "mixed", HEADS["without masks"], STREAMS)
    streams = dict(mixed.manifest.streams)
    streams["imu"] = msgspec.structs.replace(streams["imu"], required=True)
    write_manifest(mixed.folder, msgspec.structs.replace(mixed.manifest, streams=streams))
    bundles = {"taemi-tiny": open_bundle(tiny_folder), "mixed": open_bundle(mixed.folder)}
    together = ServingOptions(slots=8, threads=1, queue_delay_us=20_000)
    export_repository(tiny_folder, folder / "repository", options=together)
    export_repository(mixed.folder, folder / "repository", options=ServingOptions(slots=3, threads=1))
    hops = {
        "taemi-tiny": _hops_of_clip(bundles["taemi-tiny"], demo_video, demo_vtt),
        "mixed": hops_of_noise(HOPS, STREAMS),
    }
    with triton_server(folder / "repository") as server:
        yield Served(server, bundles, hops)


def _hops_of_clip(bundle: Bundle, clip: Path, transcript: Path) -> list[Hop]:
    words = read_transcript(transcript, None)
    with te.MediaFile(clip, streams=bundle.manifest.streams) as media:
        hops = [hop for hop, _ in zip(media.hops(HOP_S), range(HOPS), strict=False)]
    for hop in hops:
        said = [word for word in words if hop.end_s - HOP_S < word.end_s <= hop.end_s]
        hop.pieces["text"] = [Word(word.start_s, word.end_s, f"{word.text}-größer-你好") for word in said]
    return hops


def _without(hops: Sequence[Hop], streams: Sequence[str]) -> list[Hop]:
    """The same hops, with these streams lost after the second one."""
    early, late = hops[:2], hops[2:]
    losses = dict.fromkeys(streams, LEFT_OUT)
    lost = [Hop(h.end_s, {n: p for n, p in h.pieces.items() if n not in losses}, losses=dict(losses)) for h in late]
    return [*early, *lost]


@dataclass(frozen=True, eq=False)
class Expected:
    """What the runtime gives in process at one hop."""

    prediction: te.Prediction
    outputs: dict[str, Array] | None


def _in_process(bundle: Bundle, hops: Sequence[Hop], name: str) -> list[Expected]:
    found = []
    with te.Pipeline(bundle, name, threads=1) as pipeline:
        for hop in hops:
            prediction = pipeline.predict(Hop(hop.end_s, dict(hop.pieces), losses=dict(hop.losses)))
            given = pipeline.fleet.outputs[0]
            specs = bundle.manifest.outputs
            values = None if given is None else {n: np.array(spec.values(given[n])) for n, spec in specs.items()}
            found.append(Expected(prediction, values))
    return found


def _served(client: Any, model: str, bundle: Bundle, hops: Sequence[Hop], name: int | str) -> list[dict[str, Array]]:
    last = len(hops) - 1
    return [
        infer(
            client,
            model,
            tensors_of(bundle.manifest, hop),
            sequence_id=name,
            sequence_start=at == 0,
            sequence_end=at == last,
        )
        for at, hop in enumerate(hops)
    ]


def _assert_same(answers: Sequence[dict[str, Array]], expected: Sequence[Expected]) -> None:
    for answer, want in zip(answers, expected, strict=True):
        line, prediction = json.loads(bytes(answer["prediction"][0])), want.prediction
        told = json.loads(prediction.to_json())
        for key in ("source", "time_s", "window_s", "presence", "age_ms", "reason", "status", "backend"):
            assert line[key] == told[key], key
        assert [STATES[code] for code in answer["presence"][0]] == list(prediction.presence.values())
        ages = [np.nan if age is None else age for age in prediction.age_ms.values()]
        np.testing.assert_allclose(answer["age_ms"][0], ages, rtol=1e-6)
        for name, spec in prediction.outputs.items():
            if want.outputs is None:
                assert spec is None
                assert np.isnan(answer[name]).all()
            else:
                np.testing.assert_allclose(answer[name][0], want.outputs[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("model", "by"), [("taemi-tiny", "grpc"), ("taemi-tiny", "http"), ("mixed", "grpc")])
def test_every_presence_pattern_is_what_the_runtime_gives(served: Served, model: str, by: str):
    """As many sequences side by side as there are slots, each with other streams lost."""
    bundle, hops = served.bundles[model], served.hops[model]
    streams = list(bundle.manifest.streams)
    patterns = [[n for i, n in enumerate(streams) if code >> i & 1] for code in range(2 ** len(streams))]
    slots = 8 if model == "taemi-tiny" else 3

    def ask(lost: list[str]) -> list[dict[str, Array]]:
        with served.client(by) as client:
            name = f"Tür ohne {'-'.join(lost)}"
            return _served(client, model, bundle, _without(hops, lost), name)

    with ThreadPoolExecutor(slots) as threads:
        answers = list(threads.map(ask, patterns))
    for lost, answer in zip(patterns, answers, strict=True):
        _assert_same(answer, _in_process(bundle, _without(hops, lost), f"Tür ohne {'-'.join(lost)}"))
    missing = [bool(np.isnan(answer[-1][next(iter(bundle.manifest.outputs))]).any()) for answer in answers]
    assert missing == [model == "mixed" and "imu" in lost for lost in patterns]


def test_sequences_share_calls(served: Served):
    """This is about the test above: it has had eight sequences at once."""
    with served.client("grpc") as client:
        statistics = client.get_inference_statistics("taemi-tiny", as_json=True)["model_stats"][0]
    assert int(statistics["execution_count"]) < int(statistics["inference_count"])


@pytest.mark.parametrize("by", ["grpc", "http"])
def test_a_sequence_that_starts_again_knows_nothing_of_before(served: Served, by: str):
    bundle, hops = served.bundles["mixed"], served.hops["mixed"]
    with served.client(by) as client:
        before = tensors_of(bundle.manifest, hops[0])
        infer(client, "mixed", before, sequence_id=7, sequence_start=True)
        answers = _served(client, "mixed", bundle, hops, 7)
    _assert_same(answers, _in_process(bundle, hops, "7"))


def test_crops_give_what_their_frames_give(served: Served):
    bundle, hops = served.bundles["taemi-tiny"], served.hops["taemi-tiny"]
    reader = CropReader(bundle.manifest.streams["vision"])
    answers = []
    with served.client("grpc") as client:
        for at, hop in enumerate(hops):
            tensors = tensors_of(bundle.manifest, hop)
            crops = [crop for crop in reader.crops(hop.pieces["vision"]) if crop.pixels is not None]
            del tensors["vision"]
            tensors["vision_crops"] = np.stack([crop.pixels for crop in crops if crop.pixels is not None])[None]
            tensors["vision_times_s"] = np.array([[crop.time_s for crop in crops]])
            sequence = {"sequence_start": at == 0, "sequence_end": at == len(hops) - 1}
            answers.append(infer(client, "taemi-tiny", tensors, sequence_id="crops", **sequence))
    _assert_same(answers, _in_process(bundle, hops, "crops"))


def test_frames_may_lie_in_shared_memory(served: Served):
    """Pictures of a client on the same machine need not go through its connection."""
    import tritonclient.utils.shared_memory as shm

    bundle, hops = served.bundles["taemi-tiny"], served.hops["taemi-tiny"]
    all_tensors = [tensors_of(bundle.manifest, hop) for hop in hops]
    key = f"taemi-edge-{served.server.process.pid}"
    size = max(tensors["vision"].nbytes for tensors in all_tensors)
    region = shm.create_shared_memory_region("frames", key, size)
    answers = []
    try:
        with served.client("grpc") as client:
            client.register_system_shared_memory("frames", key, size)
            for at, tensors in enumerate(all_tensors):
                frames = tensors.pop("vision")
                shm.set_shared_memory_region(region, [frames])
                shared = tritonclient.grpc.InferInput("vision", list(frames.shape), "UINT8")
                shared.set_shared_memory("frames", frames.nbytes)
                sequence = {"sequence_start": at == 0, "sequence_end": at == len(hops) - 1}
                answers.append(infer(client, "taemi-tiny", tensors, [shared], sequence_id="shared", **sequence))
            client.unregister_system_shared_memory("frames")
    finally:
        shm.destroy_shared_memory_region(region)
    _assert_same(answers, _in_process(bundle, hops, "shared"))


Spoil = Callable[[dict[str, Array]], object]

#: What is wrong with a request, and what its sentence says.
BAD: dict[str, tuple[Spoil, str]] = {
    "no end": (lambda t: t.pop("end_s"), "expected the input end_s, which says where the hop ends, found none"),
    "no number": (lambda t: t["mic"].__setitem__((0, 3), np.nan), "mic: expected finite numbers, got NaN or infinity"),
    "a time too few": (
        lambda t: t.update(imu_times_s=t["imu_times_s"][:, 1:]),
        "imu_times_s: expected a time for each of 8, got 7",
    ),
    "no times": (lambda t: t.pop("front_times_s"), "expected the input front_times_s beside front, found none"),
    "the times alone": (lambda t: t.pop("heart"), "expected heart beside heart_times_s, found none"),
    "of the future": (
        lambda t: t["gait_times_s"].__setitem__((0, -1), 99.0),
        "gait_times_s: expected what came up to end_s, 1.5 s, got 99 s",
    ),
    "out of order": (
        lambda t: t["imu_times_s"].__setitem__((0, 0), 1.4),
        "imu_times_s: expected times in seconds and in order",
    ),
    "milliseconds": (lambda t: t["end_s"].fill(1.7e12), "end_s: expected a time in seconds, got 1700000000000"),
    "an end that goes back": (
        lambda t: [t.pop(name) for name in list(t) if name != "end_s"] and t["end_s"].fill(1.0),
        "expected an end_s after that of the last request, 1 s, got 1 s",
    ),
    "data that go back": (
        lambda t: t.update(imu_times_s=t["imu_times_s"] - 0.5),
        "imu: expected data after 1 s, where those of the last request end",
    ),
    "sound that goes back": (
        lambda t: t.update(mic_time_s=t["mic_time_s"] - 0.4),
        "mic: expected data after 1 s, where those of the last request end",
    ),
    "another type": (lambda t: t.update(mic=t["mic"].astype(np.float64)), "data-type is 'FP64'.*expects 'FP32'"),
    "other channels": (lambda t: t.update(imu=t["imu"][..., :2]), "unexpected shape for input 'imu'"),
    "unknown": (lambda t: t.update(radar=t.pop("mic")), "unexpected inference input 'radar'"),
}


def test_a_bad_request_is_refused_and_its_sequence_goes_on(served: Served):
    """Each bad request comes between two good ones, and another sequence goes on beside it."""
    bundle, hops = served.bundles["mixed"], served.hops["mixed"][:3]
    with served.client("grpc") as client:
        for at, (spoil, message) in enumerate(BAD.values(), 1):
            answers = []
            for number, hop in enumerate(hops):
                if number == 2:
                    tensors = {name: array.copy() for name, array in tensors_of(bundle.manifest, hop).items()}
                    spoil(tensors)
                    with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
                        infer(client, "mixed", tensors, sequence_id=at)
                    assert re.search(message, str(refused.value)), str(refused.value)
                    assert "Traceback" not in str(refused.value)
                last = number == len(hops) - 1
                tensors = tensors_of(bundle.manifest, hop)
                sequence = {"sequence_id": at, "sequence_start": number == 0, "sequence_end": last}
                answers.append(infer(client, "mixed", tensors, **sequence))
            _assert_same(answers, _in_process(bundle, hops, str(at)))


def test_a_sequence_more_than_slots_hears_so_at_once(served: Served):
    bundle, hop = served.bundles["mixed"], served.hops["mixed"][0]
    tensors = tensors_of(bundle.manifest, hop)
    with served.client("http") as client:
        for name in ("a", "b", "c"):
            infer(client, "mixed", tensors, sequence_id=name, sequence_start=True)
        with pytest.raises(tritonclient.http.InferenceServerException, match="at most 3 sequences at once, got 'd'"):
            infer(client, "mixed", tensors, sequence_id="d", sequence_start=True)
        last = tensors_of(bundle.manifest, served.hops["mixed"][1])
        infer(client, "mixed", last, sequence_id="a", sequence_end=True)
        again = _served(client, "mixed", bundle, served.hops["mixed"], "d")
        for name in ("b", "c"):
            infer(client, "mixed", last, sequence_id=name, sequence_end=True)
    _assert_same(again, _in_process(bundle, served.hops["mixed"], "d"))


def test_the_example_of_the_documentation_runs(served: Served, demo_video: Path, capsys: pytest.CaptureFixture[str]):
    page = (ROOT / "docs/how-to/triton.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for shown, here in (("localhost:8001", served.server.grpc), ("talk.mp4", str(demo_video))):
        assert shown in example
        example = example.replace(shown, here)
    exec(compile(example, "docs/how-to/triton.md", "exec"), {})  # noqa: S102 - it is ours
    said = capsys.readouterr().out.splitlines()
    assert len(said) > HOPS
    assert "live" in said[-1]
