"""Whatever the runtime asks of a part lies in one of its profiles: any streams, rates, chunks, windows and sources."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.bundle.records import Provenance
from taemi_edge.bundle.spec import SCHEMA, HeadSpec, Manifest, WindowSpec
from taemi_edge.bundle.streams import (
    AudioSpec,
    MissingSpec,
    PresenceSpec,
    SeriesSpec,
    StreamSpec,
    TextSpec,
    VideoSpec,
)
from taemi_edge.bundle.values import HEAD, PartSpec, TensorSpec, Tolerance
from taemi_edge.engines.asked_shapes import Shapes
from taemi_edge.engines.profiles import all_profiles, require_covering
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import UsageError
from taemi_edge.parity.golden import Case
from taemi_edge.runtime.kinds import count_steps
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_of_sizes
from taemi_edge.runtime.tensorrt.warm_up import usual_cases
from taemi_edge.runtime.work import Layout

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)


@dataclass(frozen=True)
class Encoded:
    """A stream, and how many samples of its input make one step; 0 for an encoder that gives a vector."""

    spec: StreamSpec
    stride: int

    def steps(self, length: int) -> int:
        return max(1, math.ceil(length / self.stride))


def _bounds(draw: st.DrawFn) -> dict:
    low = draw(st.sampled_from([1, 1, 1, 2, 5]))
    high = draw(st.sampled_from([low, 12, 40, 4096, 4096]).filter(lambda most: most >= low))
    missing = MissingSpec(steps=draw(st.sampled_from([1, 1, 2, 7])))
    return {"feature_dim": 4, "presence": PRESENCE, "min_steps": low, "max_steps": high, "missing": missing}


@st.composite
def encoders(draw: st.DrawFn) -> Encoded:
    common, kind = _bounds(draw), draw(st.sampled_from(["video", "clips", "sound", "text", "series", "rows"]))
    seconds = st.sampled_from([0.1, 0.25, 0.3, 0.5, 1.0, 2.0, 7.0, 40.0])
    context_s = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0, 3.0]))
    if kind in ("video", "clips"):
        rate = draw(st.sampled_from([0.3, 1.0, 5.0, 12.5, 29.97, 60.0]))
        frames = 1 if kind == "video" else draw(st.integers(2, 9))
        spec: StreamSpec = VideoSpec(size_hw=(8, 8), frames_per_second=rate, clip_frames=frames, **common)
        return Encoded(spec, 0)
    if kind == "sound":
        spec = AudioSpec(sample_rate_hz=400, chunk_s=draw(seconds), context_s=context_s, **common)
    elif kind == "text":
        return Encoded(TextSpec(max_tokens=draw(st.sampled_from([1, 20, 64, 512])), **common), draw(st.integers(0, 1)))
    elif kind == "series":
        chunk_s, rate_hz = draw(seconds), draw(st.sampled_from([20.0, 33.3]))
        spec = SeriesSpec(channels=3, rate_hz=rate_hz, chunk_s=chunk_s, context_s=context_s, **common)
    else:
        return Encoded(SeriesSpec(channels=3, max_rows=draw(st.sampled_from([1, 64, 300])), **common), 0)
    return Encoded(spec, draw(st.sampled_from([0, 7, 16])))


def _inputs(spec: StreamSpec, name: str) -> dict[str, tuple[int | str, ...]]:
    if isinstance(spec, VideoSpec):
        frames = () if spec.clip_frames == 1 else (f"{name}_frames",)
        return {"pixels": ("batch", *frames, 8, 8, 3)}
    if isinstance(spec, AudioSpec):
        return {"samples": ("batch", "samples")}
    if isinstance(spec, TextSpec):
        return {"ids": ("batch", "tokens"), "mask": ("batch", "tokens")}
    return {"values": ("batch", "rows", 3) if spec.chunk_s else ("batch", 3)}


def _part(name: str, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> PartSpec:
    takes, gives = (
        tuple(TensorSpec(name=n, dtype="float32", shape=shape) for n, shape in named.items())
        for named in (inputs, outputs)
    )
    return PartSpec(file=f"{name}.onnx", inputs=takes, outputs=gives, precision="fp32", opset=17, parameters=1)


def manifest_of(given: dict[str, Encoded], head: HeadSpec, window: WindowSpec) -> Manifest:
    parts, takes = {}, {}
    for name, each in given.items():
        parts[name] = _part(
            name, _inputs(each.spec, name), {"features": ("batch", "steps", 4) if each.stride else ("batch", 4)}
        )
        takes[name] = ("batch", f"{name}_steps", 4)
        if head.masks:
            takes[f"{name}_mask"] = ("batch", f"{name}_steps")
    parts[HEAD] = _part(HEAD, takes, {"swing": ("batch", 2)})
    return Manifest(
        schema=SCHEMA,
        name="any",
        trained=False,
        parts=parts,
        streams={name: each.spec for name, each in given.items()},
        outputs={"swing": RegressionSpec(names=("x", "y"))},
        window=window,
        tolerances=dict.fromkeys(parts, Tolerance(max_abs=1e-4, cosine=0.9999)),
        provenance=Provenance(made_by="", made_at="", source="", recipe_sha256="", versions={}, weights={}),
        sha256={},
        head=head,
    )


def _lengths(spec: StreamSpec) -> list[int]:
    if isinstance(spec, (AudioSpec, SeriesSpec)) and spec.chunk_s:
        return sorted({spec.chunk_samples, spec.chunk_samples + spec.context_samples})
    if isinstance(spec, TextSpec):
        return [1, spec.max_tokens]
    return [spec.clip_frames if isinstance(spec, VideoSpec) else 0]


def golden(manifest: Manifest, given: dict[str, Encoded]) -> list[Case]:
    """One feed of each length of each encoder, and one window of a step of each stream."""
    cases = []
    for name, each in given.items():
        part = manifest.parts[name]
        for length in _lengths(each.spec):
            shapes = {t.name: (1, *(length if isinstance(n, str) else n for n in t.shape[1:])) for t in part.inputs}
            out = (1, each.steps(length), 4) if each.stride else (1, 4)
            feeds = {n: np.zeros(shape, np.int8) for n, shape in shapes.items()}
            cases.append(Case(name, f"of {length}", feeds, {"features": np.zeros(out, np.float32)}))
    feeds = {name: np.zeros((1, max(1, each.spec.min_steps), 4), np.int8) for name, each in given.items()}
    if manifest.head.masks:
        feeds |= {f"{name}_mask": np.ones(value.shape[:2], np.int8) for name, value in list(feeds.items())}
    return [*cases, Case(HEAD, "window", feeds, {}, frozenset(given))]


def asked(device: DeviceLayout, layout: Layout, draw: st.DrawFn) -> list[tuple[str, Shapes]]:
    """Shapes that the executor asks of the parts: while it opens, of any hop, and of windows of any length."""
    found: list[tuple[str, Shapes]] = []
    for name in device.streams:
        spec, most = device.spec(name), device.most[name]
        lengths = device.lengths(name)
        if isinstance(spec, TextSpec):
            lengths = [device.tokens(name, count) for count in (1, draw(st.integers(1, spec.max_tokens)), lengths[-1])]
        for length in lengths:
            counts = (1, draw(st.integers(1, most)), most)
            found += [(name, device.input_shapes(name, device.batch(name, count), length)) for count in counts]
    for pattern in device.manifest.patterns:
        steps = {name: device.spec(name).missing.steps for name in device.streams}
        for name in pattern:
            longest = max(device.spec(name).min_steps, min(device.capacity[name], device.spec(name).max_steps))
            steps[name] = draw(st.sampled_from([device.spec(name).min_steps, longest]))
        windows = draw(st.integers(1, device.sources))
        case = device.ring_case(pattern) if device.reads_rings else device.window_case(windows, steps)
        found.append((HEAD, device.head_shapes(case)))
    for case in usual_cases(device, layout):
        found += [(e.stream, device.input_shapes(e.stream, e.batch, e.length)) for e in case.encoders]
        found += [(HEAD, device.head_shapes(case.head))] if case.head else []
    return found


def fits(part: PartSpec, spans: dict, shapes: Shapes) -> bool:
    sizes = [(n, size) for t in part.inputs for n, size in zip(t.shape, shapes[t.name], strict=True)]
    return all(spans[n][0] <= size <= spans[n][2] if isinstance(n, str) else n == size for n, size in sizes)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_shape_that_the_runtime_asks_for_lies_in_a_profile(data: st.DataObject):
    each = data.draw(st.lists(encoders(), min_size=1, max_size=3))
    streams = {f"s{number}": encoded for number, encoded in enumerate(each)}
    head = data.draw(st.sampled_from([HeadSpec(), HeadSpec(order_matters=True), HeadSpec(masks=False)]))
    hop_s = data.draw(st.sampled_from([0.1, 0.5, 1.0, 3.0]))
    window = WindowSpec(length_s=hop_s * data.draw(st.sampled_from([1, 4, 8, 40])), hop_s=hop_s)
    manifest, built_for = manifest_of(streams, head, window), data.draw(st.integers(1, 16))
    recipe = TargetRecipe(name="mine", backend="tensorrt", sources=built_for)
    cases = golden(manifest, streams)
    profiles = all_profiles(manifest, recipe, cases)
    require_covering(manifest, recipe, cases, profiles)
    for spans in (spans for found in profiles.values() for spans in found):
        assert all(low <= usual <= high for low, usual, high in spans.values())

    most = {n: max(spans["batch"][2] for spans in profiles[n]) for n in streams}
    steps = count_steps(manifest, lambda name, length: streams[name].steps(length))
    for sources in {1, data.draw(st.integers(1, built_for)), built_for}:
        layout = Layout(sources, window.length_s, hop_s)
        device = layout_of_sizes(manifest, layout, steps, most)
        for part, shapes in asked(device, layout, data.draw):
            assert any(fits(manifest.parts[part], spans, shapes) for spans in profiles[part]), (part, shapes)


def one_second_with_one_of_context() -> tuple[Manifest, list[Case]]:
    sound = AudioSpec(
        feature_dim=4, presence=PRESENCE, max_steps=4096, sample_rate_hz=16_000, chunk_s=1.0, context_s=1.0
    )
    streams = {"mic": Encoded(sound, 320)}
    manifest = manifest_of(streams, HeadSpec(), WindowSpec(length_s=4.0, hop_s=0.5))
    return manifest, golden(manifest, streams)


def test_a_chunk_of_a_second_with_a_second_of_context():
    manifest, cases = one_second_with_one_of_context()
    hop, window = all_profiles(manifest, TargetRecipe(name="mine", backend="tensorrt"), cases)["mic"]
    assert hop == {"batch": (1, 1, 16), "samples": (16_000, 32_000, 32_000)}
    assert window == {"batch": (1, 4, 16), "samples": (16_000, 32_000, 32_000)}


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        (
            {"mic": {"samples": (16_000, 16_000, 16_000)}},
            "profiles.mic.samples to take 32000, for a chunk with its context, got 16000 to 16000",
        ),
        ({"mic": {"samples": (20_000, 32_000, 32_000)}}, "mic.samples to take 16000, for a chunk, got 20000 to 32000"),
        ({"mic": {"batch": (2, 2, 2)}}, "profiles.mic.batch to take 1, for a chunk, got 2 to 2"),
        ({"fusion": {"mic_steps": (1, 50, 99)}}, "profiles.fusion.mic_steps to take 300, for the rings of a window"),
        ({"fusion": {"batch": (2, 2, 4)}}, "profiles.fusion.batch to take 1, for the rings of a window, got 2 to 4"),
    ],
)
def test_a_target_whose_profiles_do_not_take_the_models_own_streams_is_refused(profiles: dict, words: str):
    manifest, cases = one_second_with_one_of_context()
    recipe = TargetRecipe(name="mine", backend="tensorrt", profiles=profiles)
    with pytest.raises(UsageError) as caught:
        require_covering(manifest, recipe, cases, all_profiles(manifest, recipe, cases))
    assert words in str(caught.value)
    assert str(caught.value).endswith(": widen it, or leave it out, and build again")


def test_a_target_that_does_not_take_a_golden_feed_is_refused():
    manifest, cases = one_second_with_one_of_context()
    feeds = {"samples": np.zeros((9, 32_000), np.int8)}
    cases.append(Case("mic", "largest batch", feeds, {"features": np.zeros((9, 100, 4), np.float32)}))
    recipe = TargetRecipe(name="mine", backend="tensorrt", profiles={"mic": {"batch": (1, 4, 8)}})
    with pytest.raises(UsageError, match=r"mic\.batch to take 9, for the golden feed 'largest batch', got 1 to 8"):
        require_covering(manifest, recipe, cases, all_profiles(manifest, recipe, cases))
