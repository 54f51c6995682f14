"""What a model says of itself for its card, beside what its manifest knows: `card.json` of a bundle.

The file is there only where something was said. It is listed with its hash as every file of a bundle is, and is taken
over when a bundle is calibrated or engines are built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.limits import MOST_CARD_CHARACTERS, MOST_CARD_EVALUATIONS, MOST_REPORT_BYTES
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import BundleError, InputError

#: The card that people read, and what the model says of itself.
MODEL_CARD, CARD_RECORD = "MODEL_CARD.md", "card.json"


class Figure(Frozen, frozen=True, omit_defaults=True):
    """A score, with its 95 % interval where there is one.

    Attributes:
        value: None where it is undefined.
        low, high: the interval.
        clips: on how many clips or samples it rests.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    clips: int = 0


class ReportedEvaluation(Frozen, frozen=True, omit_defaults=True):
    """What `taemi-edge evaluate --json` reported of a model.

    Attributes:
        artefact: what was evaluated, as the report calls it.
        data, split: on what.
        synthetic: whether these data are synthetic.
        metric: what the figures are measured in.
        clean: of the clips that have every stream.
        natural: of all clips as they are.
        patterns: of all clips with only some streams left, by the name of the presence pattern.
        by_name: of each number or class, on clean clips.
        command: how it was measured; empty where nobody said it.
    """

    artefact: str
    data: str
    split: str
    synthetic: bool
    metric: str
    clean: Figure
    natural: Figure
    patterns: dict[str, Figure] = msgspec.field(default_factory=dict)
    by_name: dict[str, float | None] = msgspec.field(default_factory=dict)
    command: str = ""


class ModelCard(Frozen, frozen=True, omit_defaults=True):
    """What a model's author says of it. Every field is optional; a text may have several paragraphs.

    Attributes:
        summary: what the model is for, in a sentence or two.
        licence: under which its weights may be used: an SPDX identifier such as "Apache-2.0", or words.
        intended_use: what it was made for, and for whom.
        misuse: what it must not be used for, and which laws say so.
        limits: where it is wrong or was never tried.
        evaluations: figures that were measured; `taemi-edge export --evaluation FILE` adds them.

    Example:
        >>> import taemi_edge as te
        >>> te.ModelCard(licence="MIT", limits="One kind of valve, in a quiet room.").licence
        'MIT'
    """

    summary: str = ""
    licence: str = ""
    intended_use: str = ""
    misuse: str = ""
    limits: str = ""
    evaluations: tuple[ReportedEvaluation, ...] = ()

    def __post_init__(self) -> None:
        for name in ("summary", "licence", "intended_use", "misuse", "limits"):
            text = getattr(self, name)
            if not isinstance(text, str) or len(text) > MOST_CARD_CHARACTERS:
                got = f"{len(text):,} characters" if isinstance(text, str) else repr(text)[:80]
                raise ValueError(f"expected {name} as words, up to {MOST_CARD_CHARACTERS:,} characters, got {got}")
        if len(self.evaluations) > MOST_CARD_EVALUATIONS:
            count = len(self.evaluations)
            raise ValueError(f"expected up to {MOST_CARD_EVALUATIONS} evaluations, got {count}")


NOTHING_SAID = ModelCard()


def card_record_of(content: bytes, place: str) -> ModelCard:
    """Read the content of a `card.json`.

    Raises:
        BundleError: it is none.
    """
    try:
        return msgspec.json.decode(content, type=ModelCard)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BundleError(f"{place}: expected what a model says of itself: {error!s:.300}: export it again") from error


def reported_evaluation(file: Path) -> ReportedEvaluation:
    """Read what `taemi-edge evaluate --json FILE` wrote.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        if file.stat().st_size > MOST_REPORT_BYTES:
            raise ValueError(f"it has more than {MOST_REPORT_BYTES:,} bytes")
        held = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        scores = {name: _figure(held[name]) for name in ("clean", "natural")}
        return ReportedEvaluation(
            artefact=_text(held["artefact"]),
            data=_text(held["data"]),
            split=_text(held["split"]),
            synthetic=bool(held["synthetic"]),
            metric=_text(held.get("metric", "pearson")),
            patterns={_text(name): _figure(score) for name, score in held["patterns"].items()},
            by_name=_by_name(held["clean"]),
            command=_text(held.get("command", "")),
            **scores,
        )
    except OSError as error:
        raise InputError(f"{file}: expected a report of `taemi-edge evaluate --json`: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file}: expected a report that `taemi-edge evaluate --json {file.name}` wrote, got something else "
            f"({error!s:.120})"
        ) from error


def _figure(score: Mapping[str, Any]) -> Figure:
    """A score of a report; that of a model with one group of numbers calls its value `mean_pearson`."""
    value = score["mean_pearson"] if "mean_pearson" in score else score["value"]
    interval = score.get("interval") or {}
    low, high = interval.get("low"), interval.get("high")
    return msgspec.convert({"value": value, "low": low, "high": high, "clips": score["clips"]}, Figure)


def _by_name(score: Mapping[str, Any]) -> dict[str, float | None]:
    if "pearson" in score:
        found = dict(score["pearson"])
    else:
        groups = score["outputs"]
        several = len(groups) > 1
        found = {
            f"{group}.{name}" if several else name: value
            for group, output in groups.items()
            for name, value in output["by_name"].items()
        }
    return msgspec.convert(found, dict[str, float | None])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected words, got {value!r:.60}")
    return value
