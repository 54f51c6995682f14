"""Optimization profiles follow from the streams that a manifest declares, and take every golden feed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.bundle.records import Provenance
from taemi_edge.bundle.spec import SCHEMA, HeadSpec, Manifest, WindowSpec
from taemi_edge.bundle.streams import MissingSpec, PresenceSpec, SeriesSpec, StreamSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, PartSpec, TensorSpec, Tolerance
from taemi_edge.engines.profiles import all_profiles, part_profiles, require_profiles
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import UsageError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.parity.golden import Case, load_cases

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)


def target(**changes) -> TargetRecipe:
    return TargetRecipe(name="mine", backend="tensorrt", **changes)


def imu(**changes) -> SeriesSpec:
    given = {"feature_dim": 4, "channels": 6, "rate_hz": 100.0, "chunk_s": 0.5, "context_s": 0.25}
    return SeriesSpec(presence=PRESENCE, **{**given, **changes})


def front(**changes) -> VideoSpec:
    return VideoSpec(presence=PRESENCE, **{"feature_dim": 4, "size_hw": (8, 8), "frames_per_second": 2.0, **changes})


def part(name: str, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> PartSpec:
    def tensors(named: dict[str, tuple]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=n, dtype="float32", shape=shape) for n, shape in named.items())

    return PartSpec(
        file=f"{name}.onnx", inputs=tensors(inputs), outputs=tensors(outputs), precision="fp32", opset=17, parameters=1
    )


def manifest_of(streams: dict[str, StreamSpec], encoders: dict[str, PartSpec]) -> Manifest:
    takes = {name: ("batch", f"{name}_steps", spec.feature_dim) for name, spec in streams.items()}
    head = part(HEAD, takes, {"swing": ("batch", 2)})
    parts = {**encoders, HEAD: head}
    return Manifest(
        schema=SCHEMA,
        name="mixed",
        trained=False,
        parts=parts,
        streams=streams,
        outputs={"swing": RegressionSpec(names=("x", "y"))},
        window=WindowSpec(length_s=3.0, hop_s=1.0),
        tolerances=dict.fromkeys(parts, Tolerance(max_abs=1e-4, cosine=0.9999)),
        provenance=Provenance(made_by="", made_at="", source="", recipe_sha256="", versions={}, weights={}),
        sha256={},
        head=HeadSpec(masks=False),
    )


def series_case(stream: str, samples: int, steps: int) -> Case:
    feeds = {"values": np.zeros((1, samples, 6), np.float32)}
    return Case(stream, "longest", feeds, {"features": np.zeros((1, steps, 4), np.float32)})


SERIES = part("imu", {"values": ("batch", "rows", 6)}, {"features": ("batch", "steps", 4)})
FRAMES = part("front", {"pixels": ("batch", 8, 8, 3)}, {"features": ("batch", 4)})


@pytest.mark.parametrize(("sources", "frames"), [(1, 3), (2, 5), (3, 8), (16, 40)])
def test_the_profiles_of_taemi(tiny: Bundle, sources: int, frames: int):
    """What a hop brings is usual for the encoders, and the rings of a window of 4 s for the head; a minute is most."""
    shared = min(1, sources - 1)  # the rings of several sources hold the stand-in as well
    profiles = part_profiles(tiny.manifest, target(sources=sources), load_cases(tiny.golden_file))
    assert profiles == {
        "vision": {"frames": (1, frames, max(16, 4 * sources))},
        "audio": {"batch": (1, sources, max(16, 2 * sources)), "samples": (8000, 16_000, 16_000)},
        "text": {"batch": (1, sources, max(4, sources)), "tokens": (1, 32, 64)},
        "fusion": {
            "batch": (1, sources, max(4, sources)),
            "vision_steps": (1, 22 + shared, 303),
            "audio_steps": (1, 240 + shared, 2929),
            "text_steps": (1, 64 + shared, 65),
        },
    }


@pytest.mark.parametrize(("sources", "second"), [(1, {"vision": 16, "audio": 8}), (4, {"audio": 8}), (16, {})])
def test_a_second_profile_where_a_whole_window_brings_at_least_twice_as_much(tiny: Bundle, sources: int, second: dict):
    recipe, cases = target(sources=sources), load_cases(tiny.golden_file)
    found = all_profiles(tiny.manifest, recipe, cases)
    assert {part for part, profiles in found.items() if len(profiles) > 1} == set(second)
    for part, batch in second.items():
        hop, window = found[part]
        name = "frames" if part == "vision" else "batch"
        assert window == {**hop, name: (1, batch, hop[name][2])}


def test_a_target_that_names_the_batch_leaves_one_profile(tiny: Bundle):
    recipe = target(profiles={"audio": {"batch": (1, 4, 16)}})
    found = all_profiles(tiny.manifest, recipe, load_cases(tiny.golden_file))
    assert found["audio"] == ({"batch": (1, 4, 16), "samples": (8000, 16_000, 16_000)},)


def test_rates_chunks_and_windows_decide():
    manifest = manifest_of({"front": front(), "imu": imu()}, {"front": FRAMES, "imu": SERIES})
    profiles = part_profiles(manifest, target(), [series_case("imu", 75, 9)])
    assert profiles["front"] == {"batch": (1, 2, MAX_BATCH)}
    assert profiles["imu"] == {"batch": (1, 2, MAX_BATCH), "rows": (50, 75, 75)}
    # the encoder gives 9 steps for 75 rows, of which 6 are the chunk's own: 12 a second, in rings of two chunks more
    assert profiles[HEAD] == {"batch": (1, 1, 4), "front_steps": (1, 6, 122), "imu_steps": (1, 36, 732)}


def test_the_lengths_that_a_head_declares_bound_its_profile():
    steps = MissingSpec(steps=5)
    manifest = manifest_of({"imu": imu(min_steps=3, max_steps=36, missing=steps)}, {"imu": SERIES})
    assert part_profiles(manifest, target(), [series_case("imu", 75, 9)])[HEAD]["imu_steps"] == (3, 36, 36)
    short = manifest_of({"imu": imu(min_steps=3, missing=MissingSpec(steps=2))}, {"imu": SERIES})
    assert part_profiles(short, target(), [series_case("imu", 75, 9)])[HEAD]["imu_steps"][0] == 2


def test_rows_that_come_when_they_like_have_the_usual_length_of_the_golden_window():
    heart = imu(rate_hz=0.0, chunk_s=0.0, context_s=0.0)
    encoder = part("imu", {"values": ("batch", 6)}, {"features": ("batch", 4)})
    window = Case(HEAD, "window", {"imu": np.zeros((1, 7, 4), np.float32)}, {}, frozenset({"imu"}))
    profiles = part_profiles(manifest_of({"imu": heart}, {"imu": encoder}), target(sources=3), [window])
    assert profiles["imu"] == {"batch": (1, 3, MAX_BATCH)}
    assert profiles[HEAD]["imu_steps"] == (1, 7, 64)  # the rows that are kept of a window
    many = imu(rate_hz=0.0, chunk_s=0.0, context_s=0.0, max_rows=500)
    profiles = part_profiles(manifest_of({"imu": many}, {"imu": encoder}), target(sources=3), [window])
    assert profiles[HEAD]["imu_steps"] == (1, 7, 500)


@given(batch=st.integers(1, 40), steps=st.integers(1, 5000))
def test_an_engine_takes_every_golden_feed(batch: int, steps: int):
    case = Case(HEAD, "padded batch", {"imu": np.zeros((batch, steps, 4), np.int8)}, {}, frozenset({"imu"}))
    manifest = manifest_of({"imu": imu(max_steps=50)}, {"imu": SERIES})
    spans = part_profiles(manifest, target(), [series_case("imu", 75, 9), case])[HEAD]
    for size, (low, usual, high) in ((batch, spans["batch"]), (steps, spans["imu_steps"])):
        assert low <= size <= high
        assert low <= usual <= high


def test_a_target_changes_only_the_dimensions_that_it_names(tiny: Bundle):
    cases = load_cases(tiny.golden_file)
    plain = part_profiles(tiny.manifest, target(), cases)
    changed = part_profiles(tiny.manifest, target(profiles={"audio": {"batch": (1, 2, 4)}}), cases)
    assert changed == {**plain, "audio": {**plain["audio"], "batch": (1, 2, 4)}}


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({"vision": {"batch": (1, 1, 1)}}, "--target mine: expected profiles of imu, fusion, got 'vision'"),
        ({"imu": {"row": (1, 1, 1)}}, "--target mine: expected batch, rows in profiles.imu, got 'row'"),
    ],
)
def test_profiles_of_what_the_model_does_not_have(profiles, words: str):
    with pytest.raises(UsageError) as caught:
        require_profiles(manifest_of({"imu": imu()}, {"imu": SERIES}), target(profiles=profiles))
    assert str(caught.value) == words
    assert msgspec.to_builtins(target(profiles=profiles))["profiles"]
