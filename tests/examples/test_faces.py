"""Mini-Xception in PyTorch gives what Keras gave with the same weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="examples are PyTorch models")

from tests.examples.loading import EXAMPLES, load_example

model_file = load_example("faces")


@pytest.fixture(scope="module")
def expected():
    with np.load(EXAMPLES / "faces" / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(expected):
    rgb = torch.from_numpy(np.repeat(expected["pictures"][..., None], 3, axis=3))
    with torch.no_grad():
        return model_file.trained()(rgb).softmax(1).numpy()


def test_probabilities_are_those_of_keras(expected, ours):
    assert np.ptp(expected["keras"], axis=0).max() > 0.3, "the pictures must not all look the same to the network"
    np.testing.assert_allclose(ours, expected["keras"], atol=1e-5)


def test_the_packages_tflite_with_int8_weights_is_near(expected, ours):
    """It rounds weights to INT8, so this is the error of its rounding, not of the conversion."""
    np.testing.assert_allclose(ours, expected["tflite"], atol=0.03)
    assert (ours.argmax(1) == expected["tflite"].argmax(1)).all()


def test_grey_is_what_opencv_makes_of_a_colour_picture():
    cv2 = pytest.importorskip("cv2")
    colour = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in colour])
    assert np.abs((colour * np.array(model_file.GREY)).sum(3) - grey).max() < 0.51  # OpenCV rounds
    encoder = model_file.trained()
    with torch.no_grad():
        in_graph = encoder(torch.from_numpy(colour))
        faces = torch.from_numpy((colour * np.array(model_file.GREY)).sum(3)).float() / 127.5 - 1
        torch.testing.assert_close(in_graph, encoder.logits(faces[:, None]), atol=1e-3, rtol=1e-4)


def test_the_head_averages_what_its_mask_shows():
    head, logits = model_file.MeanHead(), torch.randn(2, 3, 7)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int32)
    given = head(logits, mask)
    torch.testing.assert_close(given[0], logits[0, :2].softmax(1).mean(0))
    torch.testing.assert_close(given[1], torch.full((7,), 1 / 7))
    assert torch.equal(given[0], head(logits[:1], mask[:1])[0])


def test_the_declaration():
    declared = model_file.build()
    assert declared.streams["camera"].kind.crop == "face"
    assert declared.outputs["expression"].gives == "probabilities"
    assert len(declared.read_samples()) == 4
