"""The plot of evaluations."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.plot import plot_evaluation


def test_two_evaluations_become_one_picture(tiny_folder, store_folder, tmp_path):
    both = evaluate_on(str(tiny_folder), store_folder, "all", EvaluateOptions(tokens=("learned", "zeros")))
    assert [found.tokens for found in both] == ["learned", "zeros"]
    plot_evaluation(both, tmp_path / "evaluation.png")
    assert (tmp_path / "evaluation.png").stat().st_size > 10_000
