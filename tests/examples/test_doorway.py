"""A picture and a microphone: the spectrum in the graph is right, and the committed weights read synthetic visits."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="examples are PyTorch models")

from tests.examples.loading import load_example

model_file, train = load_example("doorway"), load_example("doorway", "train.py")
data = load_example("doorway", "doorway_data.py")


def test_the_spectrum_is_that_of_a_fourier_transform():
    samples = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32)) * 0.1
    padded = np.concatenate([np.zeros(240), samples[0].numpy()])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160] * np.hanning(401)[:-1]
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    expected = np.log(model_file.mel_filters() @ power.T + 1e-4)
    given = model_file.LogMel()(samples)[0].numpy()
    assert given.shape == (40, 25)
    np.testing.assert_allclose(given, expected, atol=1e-3)


def test_a_chunk_with_its_context_gives_four_steps_a_second():
    encoder = model_file.trained().encoders["microphone"]
    with torch.no_grad():
        assert encoder(torch.zeros(2, 20_000)).shape == (2, 5, model_file.MICROPHONE_WIDTH)


def test_the_figures_of_the_committed_weights():
    found = train.concordances(model_file.trained(), train.tensors(100, seed=5))
    assert min(found["both"]) >= 0.85
    valence, arousal, _ = range(3)
    assert found["camera alone"][arousal] < found["both"][arousal] - 0.1, "arousal is heard better than seen"
    assert found["microphone alone"][valence] < found["both"][valence] - 0.1, "valence is seen better than heard"


def test_a_lost_stream_is_not_read():
    model = model_file.trained()
    pictures, spectra, _ = train.tensors(2, seed=5)
    live = torch.tensor([[True, False]]).expand(2, -1)
    with torch.no_grad():
        assert torch.equal(model(pictures, spectra, live), model(pictures, spectra * 0 + 3, live))


def test_the_head_takes_no_masks():
    declared = model_file.build()
    assert not declared.head_takes_masks
    assert declared.streams["camera"].kind.crop == "whole"


def test_a_clip_for_run_has_picture_and_sound(tmp_path):
    import av

    visit = data.write_clip(tmp_path / "visit.mp4", seed=1)
    with av.open(str(tmp_path / "visit.mp4")) as container:
        assert container.streams.audio[0].rate == 16_000
        assert len(list(container.decode(video=0))) == 80
    assert visit.samples.size == 8 * 16_000
