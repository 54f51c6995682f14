"""Model cards: what they say of a bundle, and that nothing in a manifest can break out of one."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taemi_edge.bundle.card import card_from_manifest
from taemi_edge.bundle.card_record import (
    CARD_RECORD,
    MODEL_CARD,
    Figure,
    ModelCard,
    ReportedEvaluation,
    reported_evaluation,
)
from taemi_edge.bundle.folder import MANIFEST, open_bundle, write_manifest
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.markdown import clean, code, in_line, paragraphs
from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.records import Provenance
from taemi_edge.bundle.shown_card import card_of_bundle, said_of
from taemi_edge.bundle.spec import HeadSpec, Manifest, WindowSpec
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec
from taemi_edge.bundle.values import PartSpec, TensorSpec, Tolerance
from taemi_edge.errors import BundleError, InputError

HOSTILE = (
    "\x1b[31mred\x1b]8;;http://evil\x07 \u202eright\r\n# Heading\n\n---\n\n<script>alert(1)</script> [a](javascript:x) "
    "![i](http://x) | cell | `code` **bold** &amp; $x$ ~~z~~"
)
SAID = ModelCard(summary="Hears valves.", licence="MIT", intended_use="Pumps.", misuse="Persons.", limits="One pump.")


def sections_of(card: str) -> dict[str, str]:
    found = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(found[1::2], (text.strip() for text in found[2::2]), strict=True))


def manifest(**changes: object) -> Manifest:
    """A model of a valve's noises: nothing of it is TAEMI's."""
    presence = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
    features = TensorSpec(name="imu", dtype="float32", shape=("batch", "steps", 4))
    part = {"precision": "fp32", "opset": 17, "parameters": 8}
    encoder = PartSpec(
        file="imu.onnx",
        inputs=(TensorSpec(name="values", dtype="float32", shape=("batch", 6)),),
        outputs=(TensorSpec(name="features", dtype="float32", shape=("batch", 4)),),
        **part,
    )
    head = PartSpec(
        file="fusion.onnx",
        inputs=(features,),
        outputs=(TensorSpec(name="state", dtype="float32", shape=("batch", 2)),),
        **part,
    )
    made = Manifest(
        schema=2,
        name="valve",
        trained=True,
        trained_on="60 pumps",
        parts={"imu": encoder, "fusion": head},
        streams={"imu": SeriesSpec(feature_dim=4, channels=6, rate_hz=50.0, chunk_s=0.5, presence=presence)},
        outputs={"state": ClassesSpec(names=("open", "shut"))},
        window=WindowSpec(length_s=2.0, hop_s=0.5),
        tolerances={"imu": Tolerance(max_abs=1.0, cosine=0.9), "fusion": Tolerance(max_abs=1.0, cosine=0.9)},
        provenance=Provenance(made_by="", made_at="", source="", recipe_sha256="", versions={}, weights={}),
        sha256={},
        head=HeadSpec(masks=False),
    )
    return msgspec.structs.replace(made, **changes)


def test_the_card_says_what_the_author_said():
    sections = sections_of(card_from_manifest(manifest(), SAID))
    assert sections["Intended use"] == "Pumps."
    assert sections["Uses to avoid"] == "Persons."
    assert sections["Licence"] == "MIT"
    assert sections["Limits"].startswith("One pump.")


def test_what_nobody_said_is_said_to_be_unsaid():
    sections = sections_of(card_from_manifest(manifest()))
    for name in ("Intended use", "Uses to avoid", "Licence"):
        assert sections[name] == "*The model's author has not said.*"
    assert "emotion" not in card_from_manifest(manifest()).lower()


@pytest.mark.parametrize(
    ("changes", "warned", "training"),
    [
        ({"trained": False, "trained_on": ""}, "Untrained", "It was not trained."),
        ({"trained": True, "trained_on": ""}, "", "It was trained; nobody has said on what."),
        ({"trained": True, "trained_on": "60 pumps"}, "", "It was trained on: 60 pumps."),
        ({"trained": True, "trained_on": "a Synthetic pump"}, "Trained on synthetic data", "a Synthetic pump"),
    ],
)
def test_the_card_warns_of_what_its_training_does_not_hold(changes: dict[str, object], warned: str, training: str):
    card = card_from_manifest(manifest(**changes))
    head = card.partition("## ")[0]
    assert (warned in head) if warned else ("> **" not in head)
    assert training in sections_of(card)["Training"]
    assert ("synthetic" in card.lower()) == ("Synthetic" in str(changes["trained_on"]))


def test_figures_have_their_intervals():
    found = ReportedEvaluation(
        artefact="export/valve",
        data="valves",
        split="test",
        synthetic=False,
        metric="accuracy",
        clean=Figure(value=0.91, low=0.88, high=0.94, clips=1200),
        natural=Figure(value=None, clips=0),
        patterns={"imu": Figure(value=0.5, clips=1200)},
        by_name={"open": 0.9, "shut": None},
        command="taemi-edge evaluate export/valve --data valves",
    )
    text = sections_of(card_from_manifest(manifest(), ModelCard(evaluations=(found,))))["Evaluation"]
    assert "| every stream | 0.910 | 0.880 to 0.940 | 1,200 |" in text
    assert "| as they are | undefined | - | 0 |" in text
    assert "| `imu` | 0.500 | - | 1,200 |" in text
    assert "| `shut` | undefined |" in text


def test_the_hub_can_read_its_first_lines():
    yaml = pytest.importorskip("yaml")
    figure = Figure(value=0.9, low=0.8, high=0.95, clips=9)
    found = ReportedEvaluation(
        artefact="a", data=HOSTILE, split="test", synthetic=True, metric="accuracy", clean=figure, natural=figure
    )
    for licence, told in (("Apache-2.0", "apache-2.0"), (HOSTILE, "other"), ("", None)):
        said = ModelCard(licence=licence, evaluations=(found,))
        card = card_from_manifest(manifest(name="v: [x] # \x85", trained_on="synthetic"), said)
        metadata = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
        assert metadata["library_name"] == "taemi-edge"
        assert metadata.get("license") == told
        assert "trained-on-synthetic-data" in metadata["tags"]
        assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9


def test_hostile_words_cannot_break_out_of_the_card():
    changes = {
        "name": "n " + HOSTILE.replace("/", "").replace("\\", ""),
        "trained_on": "synthetic " + HOSTILE * 2000,
        "provenance": msgspec.structs.replace(
            manifest().provenance,
            made_by=HOSTILE,
            weights={HOSTILE: HOSTILE},
            versions={HOSTILE: HOSTILE, **{str(n): "1" for n in range(3000)}},
        ),
    }
    texts = dict.fromkeys(("summary", "licence", "intended_use", "misuse", "limits"), HOSTILE)
    card = card_from_manifest(manifest(**changes), ModelCard(**texts))
    assert clean(card) == card
    assert [line for line in card.splitlines() if line.startswith("#")] == [
        next(line for line in card.splitlines() if line.startswith("# ")),
        *(f"## {name}" for name in sections_of(card)),
    ]
    assert list(sections_of(card)) == list(sections_of(card_from_manifest(manifest())))
    assert "<script" not in re.sub(r"`[^`]*`", "", card)
    assert len(card) < 40_000


def test_hostile_words_are_no_markup_for_a_parser_of_markdown():
    parser = pytest.importorskip("markdown_it")
    texts = dict.fromkeys(("summary", "licence", "intended_use", "misuse", "limits"), HOSTILE)
    card = card_from_manifest(manifest(trained_on=HOSTILE), ModelCard(**texts))
    _, _, body = card.partition("\n---\n")
    tokens = parser.MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    kinds = {child.type for token in tokens for child in (token, *(token.children or ()))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "hr", "code_block", "fence"}
    assert sum(token.type == "heading_open" and token.tag == "h1" for token in tokens) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", "\\- a"),
        ("12. a", "12\\. a"),
        ("+ a", "\\+ a"),
        ("=== ", "\\==="),
        ("3.11", "3.11"),
        ("a_b", "a\\_b"),
        ("<b>", "&lt;b&gt;"),
        ("a\u200bb\ud800", "ab"),
    ],
)
def test_a_line_is_shown_letter_by_letter(text: str, line: str):
    assert in_line(text) == line


def test_texts_that_are_too_long_lose_their_end():
    assert len(in_line("a" * 5000)) == 400
    assert len(paragraphs("a" * 50_000)) == 20_000
    assert len(code("`" * 5000)) == 402


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"licence": "a" * 20_001}, "up to 20,000 characters"), ({"limits": 3}, "expected limits as words")],
)
def test_a_card_refuses_what_is_no_text(changes: dict[str, object], told: str):
    with pytest.raises(ValueError, match=told):
        ModelCard(**changes)  # type: ignore[arg-type]


def test_every_bundle_has_a_card_that_is_hashed(tiny_folder: Path):
    bundle = open_bundle(tiny_folder)
    assert MODEL_CARD in bundle.manifest.sha256
    assert card_of_bundle(bundle) == (tiny_folder / MODEL_CARD).read_text(encoding="utf-8")
    assert "2024/1689" in card_of_bundle(bundle)


def test_a_changed_card_is_refused(tiny_folder: Path, tmp_path: Path):
    folder = copied(tiny_folder, tmp_path / "b")
    (folder / MODEL_CARD).write_text("# Fine for everything\n")
    with pytest.raises(BundleError, match=MODEL_CARD):
        open_bundle(folder)


def test_a_bundle_of_an_older_version_has_a_card_made_for_it(tiny_folder: Path, tmp_path: Path):
    folder = copied(tiny_folder, tmp_path / "b")
    content = json.loads((folder / MANIFEST).read_text())
    for name in (MODEL_CARD, CARD_RECORD):
        del content["sha256"][name]
        (folder / name).unlink()
    (folder / MANIFEST).write_text(json.dumps(content))
    assert sections_of(card_of_bundle(open_bundle(folder)))["Licence"] == "*The model's author has not said.*"


def test_a_card_of_a_stranger_cannot_act_on_the_terminal(tiny_folder: Path, tmp_path: Path):
    folder = copied(tiny_folder, tmp_path / "b")
    (folder / MODEL_CARD).write_text(HOSTILE + "> " * 3000 + "deep")
    content = json.loads((folder / MANIFEST).read_text())
    from taemi_edge.bundle.folder import sha256_of

    content["sha256"][MODEL_CARD] = sha256_of(folder / MODEL_CARD)
    (folder / MANIFEST).write_text(json.dumps(content))
    card = card_of_bundle(open_bundle(folder))
    assert "\x1b" not in card
    assert "\u202e" not in card
    from rich.console import Console
    from rich.markdown import Markdown

    out = StringIO()
    Console(file=out, force_terminal=True, width=80).print(Markdown(card, hyperlinks=False))
    assert "\x1b]8" not in out.getvalue()


def test_a_record_that_is_none_is_refused(tiny_folder: Path, tmp_path: Path):
    folder = copied(tiny_folder, tmp_path / "b")
    for content in (b"{", b'{"licence": 3}', b'{"new": ""}', b"[" * 100_000):
        (folder / CARD_RECORD).write_bytes(content)
        with pytest.raises(BundleError, match="says of itself"):
            write_manifest(folder, open_bundle(tiny_folder).manifest)


def test_what_could_not_be_read_again_is_not_written(tiny_folder: Path, tmp_path: Path):
    """A model of very many classes: its report is read, and so many of them are no card."""
    many = {f"class_{number}": 0.5 for number in range(40_000)}
    write_json(tmp_path / "e.json", {**PEARSON, "clean": {**PEARSON["clean"], "pearson": many}})
    found = reported_evaluation(tmp_path / "e.json")
    folder = copied(tiny_folder, tmp_path / "b")
    write_json(folder / CARD_RECORD, msgspec.structs.replace(SAID, evaluations=(found, found)))
    with pytest.raises(BundleError, match="expected up to 1,048,576 bytes of what a model says of itself"):
        write_manifest(folder, open_bundle(tiny_folder).manifest)


def test_what_was_said_is_read_again(tiny_folder: Path, tmp_path: Path):
    folder = copied(tiny_folder, tmp_path / "b")
    write_json(folder / CARD_RECORD, SAID)
    write_manifest(folder, open_bundle(tiny_folder).manifest)
    assert said_of(open_bundle(folder)) == SAID
    assert "Pumps." in card_of_bundle(open_bundle(folder))


PEARSON = {
    "mean_pearson": 0.8,
    "artefact": "m",
    "data": "d",
    "synthetic": True,
    "split": "all",
    "clean": {"mean_pearson": 0.8, "interval": {"low": 0.7, "high": 0.9}, "pearson": {"joy": 0.8}, "clips": 40},
    "natural": {"mean_pearson": 0.7, "interval": None, "pearson": {"joy": 0.7}, "clips": 40},
    "patterns": {"none": {"mean_pearson": None, "interval": None, "pearson": {"joy": None}, "clips": 40}},
}


def test_a_report_of_an_evaluation_is_read(tmp_path: Path):
    write_json(tmp_path / "e.json", PEARSON)
    found = reported_evaluation(tmp_path / "e.json")
    assert found.clean == Figure(value=0.8, low=0.7, high=0.9, clips=40)
    assert found.patterns["none"] == Figure(value=None, clips=40)
    assert found.by_name == {"joy": 0.8}


@pytest.mark.parametrize(
    "wrong", [[], {}, {**PEARSON, "clean": 3}, {**PEARSON, "split": None}, {**PEARSON, "patterns": 1}]
)
def test_another_file_is_refused_as_a_report(tmp_path: Path, wrong: object):
    write_json(tmp_path / "e.json", wrong)
    with pytest.raises(InputError, match="evaluate --json"):
        reported_evaluation(tmp_path / "e.json")


def copied(bundle: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_inspect_prints_the_card(cli_here: Any, tiny_folder: Path, tmp_path: Path):
    done = cli_here("inspect", tiny_folder, "--card")
    assert done.returncode == 0
    assert done.stdout == (tiny_folder / MODEL_CARD).read_text(encoding="utf-8")
    refused = cli_here("inspect", tiny_folder, "--card", "--json", tmp_path / "d.json")
    assert refused.returncode == 2
    assert "--card: expected a bundle" in refused.stderr


def test_what_was_said_is_kept_by_calibration(calibrated_folder: Path):
    card = card_of_bundle(open_bundle(calibrated_folder))
    assert "2024/1689" in card
    assert "| `int8` |" in sections_of(card)["Precision"]
    assert "(synthetic data)" in sections_of(card)["Precision"]


def test_what_was_said_is_kept_by_engines(tiny_folder: Path, tmp_path: Path):
    from taemi_edge.engines.build import build_engine

    built = build_engine(tiny_folder, "cpu", "fp32", tmp_path / "engines").bundle
    card = card_of_bundle(built)
    assert "2024/1689" in card
    assert "parity with the golden feeds held" in sections_of(card)["Engines"]
