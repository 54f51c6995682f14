"""The small encoders: their shapes, and sizes that cannot be."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="encoders are PyTorch modules")

from taemi_edge.errors import CheckpointError
from taemi_edge.taemi.small_encoders import MelCnn, SmallCnn, small_encoder


@pytest.mark.parametrize("size_hw", [(48, 48), (33, 20), (1, 1)])
def test_pictures_of_any_size_become_one_vector(size_hw: tuple[int, int]):
    network = SmallCnn(size_hw, channels=(4, 6), narrow=3, features=5)
    assert network(torch.zeros(2, 3, *size_hw)).shape == (2, 5, 1, 1)


def test_where_something_is_in_a_picture_matters():
    torch.manual_seed(0)
    network = SmallCnn((16, 16), channels=(16,), narrow=12, features=5)
    picture = torch.zeros(1, 3, 16, 16)
    picture[..., 2:5, 2:5] = 1.0
    assert not torch.allclose(network(picture), network(picture.flip(-1)))


@pytest.mark.parametrize(("frames", "steps"), [(50, 5), (75, 8), (1, 1)])
def test_sound_becomes_ten_steps_a_second(frames: int, steps: int):
    assert MelCnn(8, channels=(4, 6), strides=(2, 5))(torch.zeros(3, 8, frames)).shape == (3, steps, 6)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("small-cnn", {"channels": [4]}),
        ("small-cnn", {"channels": 4, "narrow": 2, "features": 3}),
        ("mel-cnn", {"mels": 8, "channels": [4, 4], "strides": [2]}),
        ("mel-cnn", {"mels": 8, "channels": [4], "strides": [2], "depth": 3}),
        ("mel-cnn", {"mels": -1, "channels": [4], "strides": [2]}),
    ],
)
def test_sizes_that_cannot_be_are_refused(architecture: str, config: dict[str, object]):
    with pytest.raises(CheckpointError, match=f"encoder '{architecture}': expected its sizes as `config`, got "):
        small_encoder(architecture, config, (32, 32))
