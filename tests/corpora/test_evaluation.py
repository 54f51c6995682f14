"""A model of any streams is judged on samples by its own metric, in its own patterns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle import guests
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.evaluation import evaluation_json
from taemi_edge.errors import CorpusError, StoreError
from taemi_edge.parity.samples import calls_of, encoder_rows
from taemi_edge.parity.windows import batch_with_stand_ins, window_features
from tests.parity.toy_model import STREAMS, TOKENS, ToyModel, sample

ONE = EvaluateOptions(workers=1)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that a guest opens."""
    monkeypatch.setattr(guests, "_GUESTS", {"model": [], "corpus": []})
    guests.register_guest("model", "tests.parity.toy_model:toy_artefact")
    return "toy"


def predicted(given: dict[str, object]) -> dict[str, np.ndarray]:
    """What the model itself gives for a sample."""
    model = ToyModel()
    calls = {n: calls_of(rows) for n, spec in STREAMS.items() if (rows := encoder_rows(n, spec, given, None))}
    features = window_features(model.run, calls, STREAMS)
    return model.run("fusion", batch_with_stand_ins([features], TOKENS, STREAMS))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve samples, labelled with what the model says; of the last one nobody knows the class."""
    folder = tmp_path / "samples"
    folder.mkdir()
    for number in range(12):
        given = sample(number, steps=1 + number % 3, without=("imu",) if number % 4 == 3 else ())
        outputs = predicted(given)
        labels = {"label/mood": outputs["mood"][0]}
        labels |= {"label/door": outputs["door"][0].argmax()} if number < 11 else {}
        np.savez(folder / f"s{number}.npz", **given, **labels)
    return folder


def test_a_model_that_says_what_is_true_has_the_best_figures(toy: str, corpus: Path):
    [found] = evaluate_on(toy, corpus, options=ONE)
    assert (found.metric, found.natural.clips, found.clean.clips) == ("macro_f1", 12, 9)
    assert (found.natural.value, found.value) == (1.0, 1.0)
    assert found.natural.outputs["door"].rows == 11
    assert found.natural.outputs["mood"].value == pytest.approx(1.0, abs=1e-3)  # features are kept as float16
    assert len(found.patterns) == 31
    assert found.patterns["none"].value < 1
    assert found.worst_pattern in found.patterns
    assert found.worst_pattern != "none"


def test_another_metric_can_judge_and_the_json_says_which(toy: str, corpus: Path):
    def error(predicted, true):
        return float(np.abs(predicted["mood"] - true["mood"]).max())

    error.higher_is_better = False
    [found] = evaluate_on(toy, corpus, options=EvaluateOptions(workers=1, metric=error))
    assert found.metric == "error"
    assert found.value < 0.05
    assert found.patterns[found.worst_pattern].value == max(
        score.value for name, score in found.patterns.items() if name != "none"
    )
    content = evaluation_json(found)
    assert list(content)[:4] == ["metric", "value", "mean_over_patterns", "worst_pattern"]
    assert content["natural"]["outputs"]["door"]["metric"] == "accuracy"
    [mae] = evaluate_on(toy, corpus, options=EvaluateOptions(workers=1, metric="mae"))
    assert not mae.higher_is_better
    assert mae.value == mae.clean.outputs["mood"].value


def test_a_store_of_samples_is_kept_and_read_again(toy: str, corpus: Path, tmp_path: Path):
    kept = EvaluateOptions(workers=1, store_folder=tmp_path / "store")
    [first] = evaluate_on(toy, corpus, options=kept)
    [again] = evaluate_on(toy, tmp_path / "store", options=ONE)
    assert first.natural == again.natural


def test_a_table_is_judged_as_files_are(toy: str, tmp_path: Path):
    rows = [f"{number},{['open', 'shut', 'ajar'][number % 3]}" for number in range(6)]
    (tmp_path / "samples.csv").write_text("\n".join(["pulse.0,label/door", *rows]))
    [found] = evaluate_on(toy, tmp_path, options=ONE)
    assert (found.clean.clips, found.natural.clips) == (0, 6)
    assert "clean: macro_f1 of door is undefined, there is no clip" in found.remarks
    assert "natural: Pearson of mood is undefined, no clip has a label" in found.remarks


def test_samples_of_another_model_are_one_sentence(toy: str, tmp_path: Path, corpus: Path):
    (tmp_path / "samples.csv").write_text("pulse.0,pulse0\n1,\n1,1\n")
    with pytest.raises(CorpusError, match="expected columns of front, .* got 'pulse0'"):
        evaluate_on(toy, tmp_path / "samples.csv", options=ONE)
    with pytest.raises(StoreError, match="expected clips in the split 'dev', found test"):
        evaluate_on(toy, corpus, "dev", EvaluateOptions(workers=1, store_folder=tmp_path / "s"))
