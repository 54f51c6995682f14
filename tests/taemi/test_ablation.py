"""The paper's claims on the feature-level task, trained for real at a size that CI can afford."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.errors import UsageError
from taemi_edge.parity.metrics import Interval
from taemi_edge.taemi.ablation import (
    PUBLISHED,
    VARIANTS,
    AblationSetting,
    Claim,
    find_variants,
    make_setting,
    run_ablation,
)
from taemi_edge.taemi.published_heads import PUBLISHED_HEADS


@pytest.mark.nightly
def test_text_anchored_attention_beats_concatenation(cli, tmp_path):
    words = ("ablate", "--quick", "--seeds", "2", "--variant", "full", "--variant", "concat")
    done = cli(*words, "--output", tmp_path / "page.md", "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    full, concat = (np.array(row["scores"]["clean"]) for row in found["rows"])
    assert (full - concat).min() > 0.05
    page = (tmp_path / "page.md").read_text()
    assert "**holds**: text-anchored attention beats concatenation" in page
    assert "synthetic" in page
    assert "| full | .550 |" in page
    assert (tmp_path / "page.png").stat().st_size > 5000


def test_a_store_is_ablated_with_the_recipes_own_fusion(store_folder):
    setting = make_setting("taemi-tiny", store_folder, quick=False)
    ablation = run_ablation(setting, 1, find_variants(["full", "V"], setting), workers=1)
    assert [row.variant.name for row in ablation.rows] == ["full", "V"]
    assert ablation.ok  # nothing is asserted on data that was not made for it
    with pytest.raises(UsageError, match="expected full, concat"):
        find_variants(["full, one segment"], setting)
    with pytest.raises(UsageError, match="go together"):
        make_setting("taemi-tiny", None, quick=False)


def test_table_2_has_every_published_head_beside_the_full_model_and_concatenation():
    chosen = find_variants((), AblationSetting(), table=2)
    assert [v.name for v in chosen][:2] == ["full", "concat"]
    assert {v.table for v in chosen} == {PUBLISHED}
    assert {v.fusion["kind"] for v in chosen[2:]} == set(PUBLISHED_HEADS)


@pytest.mark.nightly
def test_table_2_is_trained_and_written_as_the_others_are(cli, tmp_path):
    words = ("ablate", "--quick", "--seeds", "2", "--table", "2")
    done = cli(*words, "--output", tmp_path / "page.md", "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stdout + done.stderr
    clean = {
        row["variant"]["name"]: np.mean(row["scores"]["clean"])
        for row in json.loads((tmp_path / "a.json").read_text())["rows"]
    }
    assert len(clean) == 6
    assert all(clean["full"] > other + 0.05 for name, other in clean.items() if name != "full")
    assert clean["after Hallmen et al."] > 0.2  # speech alone shows something, and no text or picture reached it
    assert clean["after Hallmen et al."] < min(other for name, other in clean.items() if "Hallmen" not in name)
    page = (tmp_path / "page.md").read_text()
    assert "## Table 2: heads after other papers" in page
    assert "## Table 3" not in page
    assert "2603.13760" in page


def test_a_table_must_be_one_of_the_papers_and_comes_without_names():
    with pytest.raises(UsageError, match="--table 5: expected 2, 3 or 4"):
        find_variants((), AblationSetting(), table=5)
    with pytest.raises(UsageError, match="--table or --variant, got both"):
        find_variants(["full"], AblationSetting(), table=3)


def test_every_variant_of_the_paper_is_there():
    assert {v.name for v in VARIANTS} >= {
        "full", "concat", "late pooling", "joint attention", "no missing tokens", "no modality dropout",
        "audio anchor", "vision anchor", "V", "A", "V + A", "V + A + T",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "bar", "within", "holds"),
    [(0.06, 0.05, False, True), (0.04, 0.05, False, False), (-0.01, 0.02, True, True), (0.03, 0.02, True, False)],
)
def test_a_claim_holds_by_its_bar(difference: float, bar: float, within: bool, holds: bool):
    interval = Interval(low=difference - 0.1, high=difference + 0.1)
    assert Claim(text="", difference=difference, interval=interval, bar=bar, within=within).holds is holds
