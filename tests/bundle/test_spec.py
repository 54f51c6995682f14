"""What a bundle promises: tensors, patterns, and a manifest that survives its file."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.names import file_name_problem, model_name_problem
from taemi_edge.bundle.spec import Manifest, WindowSpec
from taemi_edge.bundle.streams import AudioSpec, PresenceSpec
from taemi_edge.bundle.values import TensorSpec

PIXELS = TensorSpec(name="pixels", dtype="uint8", shape=("frames", 2, 2, 3))


@pytest.mark.parametrize(
    ("shape", "dtype", "fits"),
    [
        ((1, 2, 2, 3), np.uint8, True),
        ((9, 2, 2, 3), np.uint8, True),
        ((0, 2, 2, 3), np.uint8, False),
        ((1, 2, 2), np.uint8, False),
        ((1, 2, 3, 3), np.uint8, False),
        ((1, 2, 2, 3), np.float32, False),
    ],
)
def test_a_tensor_says_what_does_not_fit(shape, dtype, fits):
    problem = PIXELS.mismatch(np.zeros(shape, dtype))
    assert (problem is None) == fits
    assert fits or problem.startswith("pixels: expected uint8 (frames, 2, 2, 3), got ")


def test_three_streams_have_eight_patterns_the_complete_one_first(tiny: Bundle):
    assert [tiny.manifest.pattern_name(p) for p in tiny.manifest.patterns] == [
        "vision+audio+text",
        "vision+audio",
        "vision+text",
        "vision",
        "audio+text",
        "audio",
        "text",
        "none",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PresenceSpec(stale_after_s=2, missing_after_s=1, recover_after_s=0),
            "stale_after_s <= missing_after_s",
        ),
        (lambda: PresenceSpec(stale_after_s=1, missing_after_s=1, recover_after_s=-1), "recover_after_s >= 0"),
        (lambda: WindowSpec(length_s=1, hop_s=2), "hop_s <= length_s"),
    ],
)
def test_values_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_specs_are_frozen(tiny: Bundle):
    with pytest.raises(AttributeError):
        tiny.manifest.name = "other"


def test_a_manifest_survives_its_file(tiny: Bundle):
    assert msgspec.json.decode(msgspec.json.encode(tiny.manifest), type=Manifest) == tiny.manifest


Presences = st.builds(
    lambda stale, more, recover: PresenceSpec(
        stale_after_s=stale, missing_after_s=stale + more, recover_after_s=recover
    ),
    st.floats(0.01, 10),
    st.floats(0, 10),
    st.floats(0, 10),
)
Audios = st.builds(
    lambda rate, chunk, context, presence: AudioSpec(
        feature_dim=1, sample_rate_hz=rate, chunk_s=chunk, context_s=context, presence=presence
    ),
    st.integers(1_000, 192_000),
    st.floats(0.01, 30),
    st.floats(0, 30),
    Presences,
)


Names = st.text(max_size=20).filter(lambda name: model_name_problem(name) is None)
FileNames = st.text().filter(lambda name: file_name_problem(name) is None)


@given(Audios, Names, st.dictionaries(FileNames, st.text(), max_size=3), st.booleans())
def test_any_manifest_survives_its_file(base_manifest, audio, name, hashes, trained):
    audio = msgspec.structs.replace(audio, feature_dim=base_manifest.streams["audio"].feature_dim)
    streams = {**base_manifest.streams, "audio": audio}
    changed = msgspec.structs.replace(base_manifest, streams=streams, name=name, sha256=hashes, trained=trained)
    assert msgspec.json.decode(msgspec.json.encode(changed), type=Manifest) == changed


@pytest.fixture(scope="module")
def base_manifest(tiny: Bundle) -> Manifest:
    return tiny.manifest


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_becomes_a_manifest_by_accident(content):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(content, Manifest)
