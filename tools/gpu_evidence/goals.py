"""Holds the goals against what was measured: reached or short where a JSON file tells, and open where none does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS, EAGER = "taemi-edge", "torch-eager fp16"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One number that is wanted.

    Attributes:
        file: the JSON file that tells it.
        find: the number in that file; KeyError, IndexError or TypeError where it is not in it.
        least: whether the number is to be at least `wanted`, or at most.
    """

    what: str
    file: str
    find: Callable[[Report], float]
    wanted: float
    unit: str
    least: bool = False

    def verdict(self, folder: Path) -> str:
        """The goal, what was found, and whether it is reached."""
        wanted = f"{'at least' if self.least else 'at most'} {self.wanted:g} {self.unit}"
        try:
            found = self.find(json.loads((folder / self.file).read_text()))
        except OSError:
            return f"open     {self.what}: {wanted}; {self.file} is not there"
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
            return f"open     {self.what}: {wanted}; {self.file} does not have it"
        reached = found >= self.wanted if self.least else found <= self.wanted
        return f"{'reached ' if reached else 'short   '} {self.what}: {wanted}, found {found:.4g} ({self.file})"


def _window_ms(report: Report, kind: str, contender: str = OURS) -> float:
    """The median time of a hop or window with all streams: the first of its kind."""
    window: Report = next((window for window in report["windows"] if window["kind"] == kind), {})
    return float(_of(window["timings"], contender)["wall"]["median"])


def _of(timings: list[Report], contender: str) -> Report:
    return next((timing for timing in timings if timing["contender"] == contender), {})


def _of_sources(report: Report, sources: int) -> Report:
    return next((found for found in report["sources"] if found["sources"] == sources), {})


def _repeated_us(sources: int) -> Callable[[Report], float]:
    """Python alone, as the goals were set: without caches that are cold."""
    return lambda report: float(_of_sources(report, sources)["repeated_us"]["median"])


GOALS = (
    Goal("host Python in a hop of 1 source", "host.json", _repeated_us(1), 20, "us"),
    Goal("host Python in a hop of 16 sources", "host.json", _repeated_us(16), 100, "us"),
    Goal(
        "a hop of taemi-base FP16 against PyTorch eager FP16",
        "base.json",
        lambda report: _window_ms(report, "hop", EAGER) / _window_ms(report, "hop"),
        8,
        "times",
        least=True,
    ),
    Goal("what the host adds to its graph", "base.json", lambda report: float(report["overhead_ms"]) * 1e3, 60, "us"),
    Goal("the whole window", "base.json", lambda report: _window_ms(report, "window"), 2.7, "ms"),
    Goal(
        "predictions a second of taemi-mobile with 16 sources",
        "mobile-16.json",
        lambda report: float(_of_sources(report, 16)["predictions_per_s"]),
        5500,
        "a second",
        least=True,
    ),
    Goal(
        "a hop of these 16 sources",
        "mobile-16.json",
        lambda report: float(_of_sources(report, 16)["timing"]["wall"]["median"]),
        2.9,
        "ms",
    ),
)
