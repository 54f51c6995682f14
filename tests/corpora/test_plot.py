"""The plot of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from taemi_edge import pictures
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.evaluation import Evaluation
from taemi_edge.corpora.plot import plot_evaluation
from taemi_edge.parity.judge import OutputScore, Score
from taemi_edge.parity.metrics import Interval


def test_two_evaluations_become_one_picture(tiny_folder, store_folder, tmp_path):
    both = evaluate_on(str(tiny_folder), store_folder, "all", EvaluateOptions(tokens=("learned", "zeros")))
    assert [found.tokens for found in both] == ["learned", "zeros"]
    plot_evaluation(both, tmp_path / "evaluation.png")
    assert (tmp_path / "evaluation.png").stat().st_size > 10_000


def score(value: float, low: float | None = None) -> Score:
    interval = None if low is None else Interval(low=low, high=value + 0.1)
    by_name = {"open": value, "shut": value}
    output = OutputScore(metric="accuracy", value=value, by_name=by_name, others={}, mse=None, slope=None, rows=9)
    return Score(metric="accuracy", value=value, interval=interval, outputs={"state": output}, clips=9)


def evaluation(tokens: str, lost: Score, trained_on: str = "60 pumps") -> Evaluation:
    return Evaluation(
        artefact="export/valve",
        trained_on=trained_on,
        data="valves",
        synthetic=False,
        split="test",
        tokens=tokens,  # type: ignore[arg-type]
        metric="accuracy",
        higher_is_better=True,
        clean=score(0.9, 0.8),
        natural=score(0.9, 0.8),
        patterns={"imu": lost},
        streams=("imu", "mic"),
        remarks=(),
    )


def drawn(evaluations: list[Evaluation], file: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[str]]:
    """How many bars each of the two plots has, and all texts of the figure."""
    made: list[Any] = []
    monkeypatch.setattr(
        "taemi_edge.corpora.plot.new_figure", lambda *size: made.append(pictures.new_figure(*size)) or made[0]
    )
    plot_evaluation(evaluations, file)
    [figure] = made
    texts = [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]
    return [len(axis.patches) for axis in figure.axes], texts


@pytest.mark.parametrize(
    ("lost", "bars", "said"),
    [
        ([score(0.6, 0.5), score(0.4, 0.3)], [4, 2], "the same with both"),  # only "no mic" differs
        ([score(0.6, 0.5), score(0.6, 0.4)], [4, 2], "the same with both"),  # their intervals differ
        ([score(0.6, 0.5), score(0.6, 0.5)], [3, 2], "the same with both"),
        ([score(0.6, 0.5)] * 3, [3, 2], "the same with all 3"),
        ([score(0.6, 0.5)], [3, 2], "export/valve, learned tokens"),
        ([score(0.1 * n) for n in range(8)], [2 + 8, 2], "the same with all 8"),
    ],
)
def test_what_is_the_same_is_drawn_once(lost, bars, said, tmp_path, monkeypatch):
    tokens = ["learned", "zeros", *["learned"] * 6]
    found = [evaluation(kind, each) for kind, each in zip(tokens, lost, strict=False)]
    counts, texts = drawn(found, tmp_path / "e.png", monkeypatch)
    assert counts == bars
    assert said in texts
    assert not any("synthetic" in text for text in texts)


def test_a_model_of_synthetic_data_is_marked(tmp_path, monkeypatch):
    marked = [evaluation("learned", score(0.5), "a synthetic pump")]
    _, texts = drawn(marked, tmp_path / "e.png", monkeypatch)
    assert "trained on synthetic data: a synthetic pump" in texts
