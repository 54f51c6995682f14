"""Six views of real digits: the committed weights read them, with views missing too."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="examples are PyTorch models")

from tests.examples.loading import load_example

model_file = load_example("digits")
data = load_example("digits", "digits_data.py")


@pytest.fixture(scope="module")
def model():
    return model_file.trained()


@pytest.fixture(scope="module")
def few():
    views, digits = data.load_few()
    return {view: torch.from_numpy(values) for view, values in views.items()}, digits


def test_the_declaration_has_a_stream_for_each_view(model):
    declared = model_file.build()
    assert {name: stream.kind.channels for name, stream in declared.streams.items()} == data.VIEWS
    assert all(stream.stand_in.shape == (1, model_file.WIDTHS[name]) for name, stream in declared.streams.items())
    assert len(declared.read_samples()) == 60


def test_the_sixty_digits_beside_the_model_are_read(model, few):
    views, digits = few
    live = torch.ones(60, 6, dtype=torch.bool)
    with torch.no_grad():
        right = (model(views, live).argmax(1).numpy() == digits).mean()
    assert np.bincount(digits).tolist() == [6] * 10
    assert right >= 0.95


def test_a_lost_view_is_not_read(model, few):
    views, _ = few
    live = torch.tensor([[True, True, False, True, True, True]])
    with torch.no_grad():
        as_it_is = model(views, live.expand(60, -1))
        spoilt = model({**views, "kar": views["kar"] * 100 - 7}, live.expand(60, -1))
    assert torch.equal(as_it_is, spoilt)


def test_masked_steps_are_not_read(model):
    torch.manual_seed(0)
    feeds, padded = [], []
    for width in model_file.WIDTHS.values():
        steps = torch.randn(2, 1, width)
        feeds += [steps, torch.ones(2, 1, dtype=torch.int32)]
        padded += [torch.cat([steps, torch.randn(2, 3, width) * 50], 1), torch.tensor([[1, 0, 0, 0]] * 2).int()]
    with torch.no_grad():
        torch.testing.assert_close(model.head(*padded), model.head(*feeds), atol=1e-5, rtol=0)


@pytest.mark.network
def test_the_figures_of_the_committed_weights():
    try:
        views, digits = data.load_digits("test")
    except ConnectionError as error:
        pytest.skip(str(error))
    train = load_example("digits", "train.py")
    found = train.accuracies(model_file.trained(), views, digits, zeros=False)
    assert found["all six"] >= 0.965
    assert found["a random half lost"] >= 0.95
    assert found["mean of 63 patterns"] >= 0.94


@pytest.mark.network
def test_the_splits_are_what_the_readme_says_and_the_few_are_of_the_test_split():
    try:
        splits = {split: data.load_digits(split) for split in data.SPLITS}
    except ConnectionError as error:
        pytest.skip(str(error))
    assert {split: len(digits) for split, (_, digits) in splits.items()} == {
        "train": 1200,
        "calibration": 400,
        "test": 400,
    }
    rows = {split: {row.tobytes() for row in views["pix"]} for split, (views, _) in splits.items()}
    assert len(rows["train"] & rows["test"]) == 2, "the data set has two digits twice; the README says so"
    assert {row.tobytes() for row in data.load_few()[0]["pix"]} <= rows["test"]
