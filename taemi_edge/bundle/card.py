"""The model card of a bundle, `MODEL_CARD.md`: what its manifest knows, and what the model's author says of it.

The sections are those of Hugging Face's model cards (https://huggingface.co/docs/hub/model-cards), and the lines in
front of the first one are the metadata that its hub reads. A bundle without a card gets one from its manifest when it
is looked at: `taemi-edge inspect BUNDLE --card`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taemi_edge.bundle.card_record import (
    CARD_RECORD,
    MODEL_CARD,
    NOTHING_SAID,
    Figure,
    ModelCard,
    ReportedEvaluation,
    card_record_of,
)
from taemi_edge.bundle.in_words import output_in_words, stream_in_words
from taemi_edge.bundle.limits import MOST_CARD_BYTES
from taemi_edge.bundle.markdown import clean, code, in_line, paragraphs, table
from taemi_edge.bundle.records import CalibrationRecord, EngineRecord
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import kind_name
from taemi_edge.bundle.training_data import SYNTHETIC_MARK
from taemi_edge.errors import BundleError

CARD_FILES = (MODEL_CARD, CARD_RECORD)
#: A card lists no more classes, patterns or versions than this of each.
_MOST_LISTED = 40
#: Licences that the hub knows by an identifier in small letters.
_LICENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,39}")
_NOT_SAID = "*The model's author has not said.*"


def card_from_manifest(manifest: Manifest, said: ModelCard = NOTHING_SAID) -> str:
    """Write the model card of a bundle as Markdown.

    Args:
        manifest: of the bundle.
        said: what the model's author says of it.

    Example:
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> print(card_from_manifest(open_bundle("export/taemi-tiny").manifest).splitlines()[0])
        ---
    """
    sections = [
        f"---\n{_front_matter(manifest, said)}\n---",
        f"# {in_line(manifest.name)}",
        *_warnings(manifest),
        *([paragraphs(said.summary)] if said.summary else []),
        "## What it reads and gives",
        _streams_and_outputs(manifest),
        "## Intended use",
        paragraphs(said.intended_use) or _NOT_SAID,
        "## Uses to avoid",
        paragraphs(said.misuse) or _NOT_SAID,
        "## Limits",
        _limits(manifest, said),
        "## Training",
        _training(manifest),
        "## Evaluation",
        *(_evaluations(said) or ["No evaluation was recorded with this bundle: `taemi-edge evaluate` measures one."]),
        *_calibration(manifest.calibration),
        *_engines(manifest),
        "## Licence",
        paragraphs(said.licence) or _NOT_SAID,
        "## How it was made",
        _provenance(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def write_card(folder: Path, manifest: Manifest) -> None:
    """Write the card of a bundle that is being made, with what its `card.json` says where it has one.

    Raises:
        BundleError: it has one that cannot be read, or is too large to be read again.
    """
    record = folder / CARD_RECORD
    if record.is_file() and (size := record.stat().st_size) > MOST_CARD_BYTES:
        raise BundleError(
            f"{record}: expected up to {MOST_CARD_BYTES:,} bytes of what a model says of itself, got {size:,}: name "
            f"fewer evaluations"
        )
    said = card_record_of(record.read_bytes(), str(record)) if record.is_file() else NOTHING_SAID
    (folder / MODEL_CARD).write_text(card_from_manifest(manifest, said), encoding="utf-8")


def _warnings(manifest: Manifest) -> Iterator[str]:
    if not manifest.trained:
        yield "> **Untrained.** Its weights are random where nothing was trained: its outputs mean nothing."
    elif manifest.synthetic:
        what = SYNTHETIC_MARK.capitalize()
        yield f"> **{what}** ({in_line(manifest.trained_on)}). Nothing is known of how it does on real data."


def _streams_and_outputs(manifest: Manifest) -> str:
    streams = [(code(name), in_line(stream_in_words(spec))) for name, spec in manifest.streams.items()]
    outputs = []
    for name, spec in manifest.outputs.items():
        more = f" and {spec.size - _MOST_LISTED} more" if spec.size > _MOST_LISTED else ""
        outputs.append((code(name), in_line(output_in_words(spec)) + more))
    window = manifest.window
    times = f"Each prediction looks back {window.length_s:g} s; one is made every {window.hop_s:g} s."
    return "\n\n".join(
        [
            table(("stream", "what it reads"), streams),
            table(("output", "what it gives"), outputs),
            f"{times} Where a stream is missing, the head reads what stands for it.",
        ]
    )


def _limits(manifest: Manifest, said: ModelCard) -> str:
    known = []
    if not manifest.trained:
        known.append("It is untrained: its outputs mean nothing.")
    elif not manifest.trained_on:
        known.append("Nobody has said what it was trained on, so nobody can say where it holds.")
    elif manifest.synthetic:
        known.append("It has learned from synthetic data: on real data its outputs may mean nothing.")
    if required := [name for name, spec in manifest.streams.items() if spec.required]:
        known.append(f"It makes no prediction without {' and '.join(map(code, required))}.")
    if manifest.head.unread:
        unread = " and ".join(map(code, manifest.head.unread))
        known.append(f"Its outputs do not depend on {unread}.")
    if manifest.verified is False:
        known.append("Parity did not hold, or was not checked, on the device that built its engines.")
    points = "\n".join(f"- {point}" for point in known)
    return "\n\n".join(filter(None, (paragraphs(said.limits), points))) or _NOT_SAID


def _training(manifest: Manifest) -> str:
    if not manifest.trained:
        trained = "It was not trained."
    elif not manifest.trained_on:
        trained = "It was trained; nobody has said on what."
    else:
        trained = f"It was trained on: {in_line(manifest.trained_on)}."
    rows = [(code(part), in_line(source)) for part, source in manifest.provenance.weights.items()]
    return "\n\n".join([trained, *([table(("part", "weights from"), rows[:_MOST_LISTED])] if rows else [])])


def _evaluations(said: ModelCard) -> list[str]:
    sections = []
    for found in said.evaluations:
        kind = "synthetic data" if found.synthetic else "data"
        text = (
            f"{in_line(found.metric)} on {in_line(found.data)} ({kind}), split {in_line(found.split)}, of "
            f"{code(found.artefact)}. Intervals are 95 % bootstrap intervals."
        )
        rows = [("every stream", *_cells(found.clean)), ("as they are", *_cells(found.natural))]
        rows += [(code(name), *_cells(figure)) for name, figure in list(found.patterns.items())[:_MOST_LISTED]]
        sections += [text, table(("clips", "score", "interval", "how many"), rows)]
        if found.by_name:
            names = list(found.by_name.items())[:_MOST_LISTED]
            sections.append(table(("output", "score, every stream"), [(code(n), _number(v)) for n, v in names]))
        if found.command:
            sections.append(f"Measured by {code(found.command)}.")
    return sections


def _cells(figure: Figure) -> tuple[str, str, str]:
    known = figure.low is not None and figure.high is not None
    interval = f"{_number(figure.low)} to {_number(figure.high)}" if known else "-"
    return _number(figure.value), interval, f"{figure.clips:,}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _calibration(record: CalibrationRecord | None) -> list[str]:
    """What calibration adds: on what, and what each precision costs."""
    if record is None:
        return []
    kind = "synthetic data" if record.synthetic else "data"
    text = (
        f"Calibrated on {record.clips:,} clips of {in_line(record.data)} ({kind}), and judged on {record.held_out:,} "
        f"others, by {in_line(record.quantiser)}."
    )
    rows = []
    for precision, score in record.scores.items():
        found = record.pattern_scores.get(precision)
        patterns = "-" if found is None else _number(found.mean)
        rows.append((code(precision), _number(score), patterns))
    heads = ("precision", f"{in_line(record.metric)}, every stream", "mean over presence patterns")
    return ["## Precision", text, *([table(heads, rows)] if rows else [])]


def _engines(manifest: Manifest) -> list[str]:
    """What building engines adds: the target, the precision of each part, and how parity came out."""
    record: EngineRecord | None = manifest.engine
    if record is None:
        return []
    device = record.machine.get("gpu") or record.machine.get("architecture", "an unknown device")
    state = "held" if manifest.verified else f"did not hold, or was not checked: {in_line(record.failure)}"
    text = (
        f"Built for the target {code(record.target)} with {in_line(record.library)}, on {in_line(device)}; parity with "
        f"the golden feeds {state}."
    )
    parts = table(("part", "precision"), [(code(name), code(spec.precision)) for name, spec in manifest.parts.items()])
    rows = [
        (code(v.stage), f"{v.max_abs:.2g}", f"{v.cosine:.5f}", "-" if v.pearson is None else _number(v.pearson))
        for v in record.verification
    ]
    heads = ("stage", "largest error", "cosine", "lowest Pearson")
    return ["## Engines", text, parts, *([table(heads, rows)] if rows else [])]


def _provenance(manifest: Manifest) -> str:
    made = manifest.provenance
    versions = list(made.versions.items())[:_MOST_LISTED]
    text = f"Made {in_line(made.made_at)} by {in_line(made.made_by)}, as a bundle of {len(manifest.parts)} parts."
    return "\n\n".join(
        [text, *([table(("with", "version"), [(code(n), in_line(v)) for n, v in versions])] if versions else [])]
    )


# ---- the metadata that the hub reads


def _front_matter(manifest: Manifest, said: ModelCard) -> str:
    """YAML, each value written as JSON, which YAML reads too."""
    tags = ["taemi-edge", "onnx", *sorted({kind_name(spec) for spec in manifest.streams.values()})]
    values: dict[str, Any] = {"library_name": "taemi-edge", "tags": [*tags, *_synthetic_tag(manifest)]}
    licence = clean(said.licence).strip()
    if _LICENCE_ID.fullmatch(licence):
        values["license"] = licence.lower()
    elif licence:
        values |= {"license": "other", "license_name": "see-the-section-licence"}
    if said.evaluations:
        results = [_result(found) for found in said.evaluations if found.clean.value is not None]
        values["model-index"] = [{"name": _plain(manifest.name), "results": results}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())


def _synthetic_tag(manifest: Manifest) -> list[str]:
    return [SYNTHETIC_MARK.replace(" ", "-")] if manifest.synthetic else []


def _result(found: ReportedEvaluation) -> dict[str, Any]:
    data = {"name": _plain(found.data), "type": "synthetic" if found.synthetic else "other"}
    metric = {"type": _plain(found.metric), "name": _plain(found.metric), "value": found.clean.value}
    return {"task": {"type": "other"}, "dataset": {**data, "split": _plain(found.split)}, "metrics": [metric]}


def _plain(text: str) -> str:
    return " ".join(clean(text).split())[:200]
