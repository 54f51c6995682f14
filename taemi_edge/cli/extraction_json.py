"""What `extract --json` writes. The type needs msgspec, which the help of commands does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from taemi_edge.corpora.extract import ExtractResult


class ExtractionJson(msgspec.Struct, frozen=True, kw_only=True):
    """`extract --json`.

    Attributes:
        encoded: how many clips were encoded this time.
        problems: why a clip could not be read, by its id.
        seconds: how long the command ran.
        cpu_s: the processor seconds of each stage.
    """

    encoded: int
    problems: dict[str, str]
    seconds: float
    cpu_s: dict[str, float]


def extraction_json(result: ExtractResult, seconds: float) -> ExtractionJson:
    """What `extract --json` writes: how many clips were encoded, and what that took.

    Args:
        result: what was done.
        seconds: how long the command ran.
    """
    return ExtractionJson(
        encoded=result.encoded,
        problems=dict(result.problems),
        seconds=round(seconds, 3),
        cpu_s={stage: round(spent_s, 4) for stage, spent_s in sorted(result.cpu_s.items())},
    )
