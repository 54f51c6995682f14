"""The trainer: exact resumption, tokens that learn or say that they did not, losses, dropout and statistics."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import TrainingError, UsageError
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import FusionHead
from taemi_edge.taemi.recipe import FusionRecipe, TrainingRecipe
from taemi_edge.taemi.synthetic.features import FEATURE_DIMS, FeatureTask, draw_splits
from taemi_edge.taemi.train.feature_examples import FeatureSet, features_from_arrays
from taemi_edge.taemi.train.trainer import Schedule, Trainer, drop_modalities, predict, set_statistics, training_loss

FUSION = FusionRecipe(dim=16, heads=2, hidden_dim=16, modality_dropout=0.15)


TRAINING = TrainingRecipe(epochs=3, batch_size=32, learning_rate=2e-3)


@pytest.fixture(scope="module")
def task():
    return draw_splits(FeatureTask(), 0, 200, 60, 60)


@pytest.fixture(scope="module")
def clean_task():
    return draw_splits(FeatureTask(natural=False), 0, 100, 30, 30)


def trainer(data, fusion: FusionRecipe = FUSION, training: TrainingRecipe = TRAINING, seed: int = 0) -> Trainer:
    head = FusionHead(FEATURE_DIMS, fusion, seed)
    set_statistics(head, data.train)
    return Trainer(head, data.train, data.valid, training, fusion.modality_dropout, seed, "test")


def weights(running: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in running.head.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stop_at", [1, 7, 8, 13])  # 7 steps an epoch
def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(task, tmp_path, stop_at: int):
    whole = trainer(task)
    assert whole.run()
    first = trainer(task)
    assert not first.run(lambda running: running.step < stop_at)
    first.save(tmp_path / "state.safetensors")
    torch.manual_seed(99)  # what happens in between does not matter
    second = trainer(task)
    second.load(tmp_path / "state.safetensors")
    assert second.step == stop_at
    assert second.run()
    assert equal(weights(second), weights(whole))
    without_clock = [msgspec.structs.replace(line, seconds=0.0) for line in whole.history]
    assert [msgspec.structs.replace(line, seconds=0.0) for line in second.history] == without_clock
    whole.keep_best()
    second.keep_best()
    assert equal(weights(second), weights(whole))


def test_a_state_of_another_run_is_refused(task, tmp_path):
    running = trainer(task)
    running.run(lambda r: r.step < 2)
    running.save(tmp_path / "s.safetensors")
    other = trainer(task)
    other.identity = "another"
    with pytest.raises(UsageError, match=r"belongs to another run \(test; this one is another\)"):
        other.load(tmp_path / "s.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "s.safetensors").read_bytes()[:100])
    with pytest.raises(UsageError, match="expected the state of a stopped run"):
        trainer(task).load(tmp_path / "torn.safetensors")


def test_seeds_make_runs_and_change_them(task):
    a, b, c = trainer(task), trainer(task), trainer(task, seed=1)
    for running in (a, b, c):
        running.run()
    assert equal(weights(a), weights(b))
    assert not equal(weights(a), weights(c))


def test_a_loss_that_is_no_number_stops_and_keeps_the_best(task):
    running = trainer(task)
    running.run(lambda r: r.step < 8)  # into the second epoch
    best = {k: v.clone() for k, v in running._best.items()}
    running.examples = FeatureSet(running.examples.sequences, torch.full_like(running.examples.labels, torch.nan))
    with pytest.raises(
        TrainingError, match=r"step 9: expected a loss that is a number, got nan.*weights of epoch 1 are kept"
    ):
        running.run()
    assert equal({k: v for k, v in weights(running).items() if k in best}, best)


def test_the_best_epoch_is_kept_or_the_last_one(task):
    running = trainer(task, training=msgspec.structs.replace(TRAINING, epochs=6))
    running.run()
    scores = [line.valid_mean_pearson for line in running.history]
    assert running.best_epoch == 1 + int(np.argmax(scores))
    last = trainer(task, training=msgspec.structs.replace(TRAINING, keep="last"))
    last.run()
    assert last.best_epoch == 3


def test_tokens_learn_where_something_is_missing(task):
    running = trainer(task)
    before = weights(running)
    running.run()
    assert running.untrained_tokens == ()
    for m in MODALITIES:
        assert not torch.equal(running.head.tokens.of(m), before[f"tokens.{m}"])
        assert running.history[-1].token_gradient[m] > 0


def test_tokens_without_a_gradient_are_told(clean_task):
    running = trainer(clean_task, msgspec.structs.replace(FUSION, modality_dropout=0.0))
    running.run()
    assert running.untrained_tokens == MODALITIES
    zeros = trainer(clean_task, msgspec.structs.replace(FUSION, modality_dropout=0.0, missing_tokens=False))
    zeros.run()
    assert zeros.untrained_tokens == ()  # they are zeros on purpose


def test_a_stream_that_training_may_not_see_is_its_token(task):
    running = trainer(task, training=msgspec.structs.replace(TRAINING, modalities=("audio",)))
    running.run()
    only_audio = predict(running.head, task.test, running.recipe)
    assert torch.allclose(only_audio, predict(running.head, task.test.without(("vision", "text"))), atol=1e-6)


@given(
    st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=12),
    st.floats(0.0, 1.0),
    st.integers(0, 1000),
)
def test_modality_dropout_takes_only_what_is_there_and_never_the_last(present, rate: float, seed: int):
    given_ = {m: torch.tensor([row[i] for row in present]) for i, m in enumerate(MODALITIES)}
    kept = drop_modalities(given_, rate, torch.Generator().manual_seed(seed))
    for row in range(len(present)):
        before, after = ({m for m in MODALITIES if x[m][row]} for x in (given_, kept))
        assert after <= before
        assert bool(after) == bool(before)


def test_modality_dropout_drops_at_its_rate():
    everything = {m: torch.ones(20_000, dtype=torch.bool) for m in MODALITIES}
    kept = drop_modalities(everything, 0.3, torch.Generator().manual_seed(0))
    share = float(torch.stack(list(kept.values())).float().mean())
    assert share == pytest.approx(0.7 + 0.3**3 / 3, abs=0.01)  # one is spared where all three were drawn


@pytest.mark.parametrize("loss", ["mse", "mse+pearson", "mse+ccc", "ccc"])
def test_every_loss_is_least_where_predictions_are_right_and_survives_constants(loss: str):
    labels = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))
    recipe = TrainingRecipe(loss=loss)
    assert float(training_loss(labels.clone(), labels, recipe)) == pytest.approx(0.0, abs=1e-3)
    constant = torch.full_like(labels, 0.4).requires_grad_()
    found = training_loss(constant, labels, recipe)
    found.backward()
    assert float(found.detach()) > 0
    assert torch.isfinite(constant.grad).all()


def test_the_schedule_rises_to_its_peak_and_falls_to_almost_nothing():
    rates = [Schedule(2e-3, 100, 0.3).at(step) for step in range(100)]
    assert max(rates) == rates[30] == 2e-3
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 1e-5


def test_features_are_standardised_by_what_is_there_alone():
    rng = np.random.default_rng(0)
    arrays = {m: [rng.normal(5, 3, (length, 4)).astype(np.float32) for length in (9, 0, 4)] for m in MODALITIES}
    data = features_from_arrays(arrays, np.zeros((3, 6)), dict.fromkeys(MODALITIES, 4))
    head = FusionHead(dict.fromkeys(MODALITIES, 4), FUSION, 0)
    set_statistics(head, data)
    joined = np.concatenate(arrays["audio"])
    assert np.allclose(head.fusion.align["audio"].feature_mean, joined.mean(0), atol=1e-5)
    assert np.allclose(head.fusion.align["audio"].feature_std, joined.std(0), atol=1e-5)
    assert np.allclose(head.tokens.of("audio").detach(), joined.mean(0), atol=0.15)
