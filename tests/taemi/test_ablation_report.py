"""The page of an ablation: tables, claims in words, and a dash where a correlation is undefined."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch", reason="ablations are trained with PyTorch")

from taemi_edge.parity.metrics import Interval
from taemi_edge.taemi.ablation import MEASURES, PUBLISHED, VARIANTS, Ablation, Claim, Row
from taemi_edge.taemi.ablation_report import plot_ablation, write_report

SCORES = {measure: [0.5, 0.52] for measure in (*MEASURES, "lost")}
ABLATION = Ablation(
    data="made up",
    seeds=2,
    rows=(
        Row(variant=VARIANTS[0], scores=SCORES),
        Row(variant=VARIANTS[1], scores={**SCORES, "text only": [None, None]}),
    ),
    claims=(
        Claim(text="full is better", difference=0.1, interval=Interval(low=0.05, high=0.15), bar=0.05),
        Claim(text="tokens help", difference=-0.1, interval=Interval(low=-0.2, high=0.0), bar=None),
    ),
    seconds=90.0,
)


def test_the_page_has_every_row_and_says_which_claims_hold(tmp_path: Path):
    write_report(ABLATION, tmp_path / "page.md", "taemi-edge ablate", None)
    page = (tmp_path / "page.md").read_text()
    assert "Made by `taemi-edge ablate` in 1.5 minutes: 2 seeds on made up." in page
    assert "| full | .550 | .510 | .500 .520 |" in page
    assert "| concat | .450 | .510 | .500 .520 | .510 | .510 | .510 | .510 | - | .510 |" in page
    assert "- **holds**: full is better. +0.100 [+0.050, +0.150]; asserted: at least 0.05." in page
    assert "- not shown: tokens help." in page


def test_table_2_shows_the_full_model_beside_it_and_the_evidence_against(tmp_path: Path):
    published = next(v for v in VARIANTS if v.table == PUBLISHED)
    rows = (*ABLATION.rows, Row(variant=published, scores=SCORES))
    write_report(msgspec.structs.replace(ABLATION, rows=rows), tmp_path / "page.md", "taemi-edge ablate", None)
    page = (tmp_path / "page.md").read_text()
    table = page[page.index("## Table 2") :]
    assert table.index("| full |") < table.index("| concat |") < table.index(f"| {published.name} |")
    assert "found plain concatenation better" in table
    assert "## Table 3" in page


def test_the_plot_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plot_ablation(ABLATION, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
