"""Decides which outputs of a prediction a panel shows, in which order and with which axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec

#: The heights of a row with its bar below, of a heading, and the highest and lowest row of one line, in pixels.
TALL_PX, HEADING_PX, _HIGHEST_PX, _LOWEST_PX = 46, 26, 26, 18


@dataclass(frozen=True)
class Bar:
    """One output.

    Attributes:
        name: in words.
        number: its value as text; a dash where there is none.
        share: where the value lies on its axis, from 0 to 1; None where there is no value.
        zero: where the bar begins on its axis, from 0 to 1.
        index: of the output in its group, which gives the colour.
        strong: whether the row is bright: of classes, only the best or the present ones are.
    """

    name: str
    number: str
    share: float | None
    zero: float
    index: int
    strong: bool = True

    @property
    def length(self) -> float:
        """How long the bar is, as a share of its axis."""
        return 0.0 if self.share is None else abs(self.share - self.zero)


@dataclass(frozen=True)
class Section:
    """The bars of one group of outputs.

    Attributes:
        heading: the name of the group; empty where none is drawn.
        note: of classes, the best one or those that are present.
    """

    heading: str
    note: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Shown:
    """What a panel shows: the sections, the height of a row in pixels, and how many outputs are left out."""

    sections: Sequence[Section]
    row_px: int
    left_out: int = 0


@dataclass
class Axis:
    """The axis of a group of outputs: the declared range, or all values so far, up to round numbers.

    Example:
        >>> axis = Axis(None)
        >>> axis.include([0.3, -1.7])
        >>> axis.low, axis.high
        (-2.0, 0.5)
    """

    fixed: tuple[float, float] | None
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if self.fixed is not None:
            self.low, self.high = self.fixed

    def include(self, values: Sequence[float | None]) -> None:
        """Widen an axis without a declared range, so that it holds these values; a value that is no number is not."""
        if self.fixed is None:
            known = [value for value in values if value is not None and math.isfinite(value)]
            self.high = max(self.high, _rounded_up(max(known, default=0.0)))
            self.low = min(self.low, -_rounded_up(-min(known, default=0.0)))

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1; values beyond the axis lie at its ends."""
        span = self.high - self.low
        return min(1.0, max(0.0, (value - self.low) / span)) if span else 0.0

    def written(self, value: float | None) -> str:
        """A value as text, with as many digits as its axis makes useful.

        >>> Axis((0.0, 1.0)).written(0.5), Axis((0.0, 220.0)).written(71.234), Axis((-2000.0, 2000.0)).written(-812.4)
        ('0.50', '71.2', '-812')
        """
        if value is None or not math.isfinite(value):
            return "\N{EN DASH}"
        span = self.high - self.low
        if span >= 1e6 or 0 < span < 1e-4:
            return f"{value:.2g}"
        small = 2 if span == 0 else 2 - math.floor(math.log10(span))
        text = f"{value:.{0 if span >= 1000 else 1 if span >= 100 else 2 if span >= 0.5 else small}f}"
        return text.removeprefix("-") if float(text) == 0 else text


@dataclass
class _Group:
    name: str
    spec: OutputSpec
    axis: Axis = field(init=False)

    def __post_init__(self) -> None:
        self.axis = Axis((0.0, 1.0) if isinstance(self.spec, ClassesSpec) else self.spec.range)

    @property
    def has_heading(self) -> bool:
        """A number that is alone in its group says its group's name itself."""
        return isinstance(self.spec, ClassesSpec) or self.spec.size > 1

    def section(self, described: Mapping[str, Any] | None) -> Section:
        classes = isinstance(self.spec, ClassesSpec)
        described = described or {}
        by_name = described.get("probabilities", {}) if classes else described
        values = [by_name.get(name) for name in self.spec.names]
        self.axis.include(values)
        strong = set(described.get("present", [described.get("best")]) if classes else self.spec.names)
        bars = [self._bar(i, n, v, n in strong) for i, (n, v) in enumerate(zip(self.spec.names, values, strict=True))]
        note = ", ".join(in_words(n) for n in self.spec.names if n in strong) if classes else ""
        return Section(in_words(self.name), note or ("none of them" if classes and by_name else ""), bars)

    def _bar(self, index: int, name: str, value: float | None, strong: bool) -> Bar:
        shown = name if self.has_heading or name == self.name else f"{self.name} {name}"
        known = value is not None and math.isfinite(value)
        share = self.axis.share(value) if known and value is not None else None
        return Bar(in_words(shown), self.axis.written(value), share, self.axis.share(0.0), index, strong)


class PanelRows:
    """Chooses what of each prediction fits.

    Args:
        outputs: the groups of outputs by name.
        space_px: how high the rows may be together.
    """

    def __init__(self, outputs: Mapping[str, OutputSpec], space_px: int) -> None:
        self._groups = [_Group(name, spec) for name, spec in outputs.items()]
        self._space_px = space_px
        self._count = sum(group.spec.size for group in self._groups)
        alone = len(self._groups) == 1 and not isinstance(self._groups[0].spec, ClassesSpec)
        self._headed = [group.has_heading and not alone for group in self._groups]

    def choose(self, outputs: Mapping[str, Mapping[str, Any] | None]) -> Shown:
        """What is shown of the outputs of a prediction; the rows keep the model's order."""
        sections = [group.section(outputs.get(group.name)) for group in self._groups]
        headed = [s if has else replace(s, heading="") for s, has in zip(sections, self._headed, strict=True)]
        space_px = self._space_px - HEADING_PX * sum(self._headed)
        if self._count * TALL_PX <= space_px:
            return Shown(headed, TALL_PX)
        if self._count * _LOWEST_PX <= space_px:
            return Shown(headed, min(_HIGHEST_PX, space_px // self._count))
        places = space_px // _LOWEST_PX - 1  # the last line says how many are left out
        if places >= len(headed):
            kept = [replace(s, bars=_longest(s.bars, n)) for s, n in zip(headed, _dealt(headed, places), strict=True)]
        else:
            places = self._space_px // _LOWEST_PX - 1
            kept = [Section("", "", _longest([bar for section in sections for bar in _told_alone(section)], places))]
        return Shown(kept, _LOWEST_PX, self._count - sum(len(section.bars) for section in kept))


def _longest(bars: Sequence[Bar], count: int) -> list[Bar]:
    """The longest bars, in the order in which all of them stand, so that a row stays where it is."""
    chosen = sorted(range(len(bars)), key=lambda i: (-bars[i].length, i))[:count]
    return [bars[i] for i in sorted(chosen)]


def _dealt(sections: Sequence[Section], places: int) -> list[int]:
    """How many places each section gets: one after the other takes one, while it has bars left."""
    dealt = [0] * len(sections)
    while places > 0 and any(n < len(s.bars) for n, s in zip(dealt, sections, strict=True)):
        for index, section in enumerate(sections):
            if places > 0 and dealt[index] < len(section.bars):
                dealt[index] += 1
                places -= 1
    return dealt


def _told_alone(section: Section) -> list[Bar]:
    """The bars of a group under names that need no heading; of classes, the bright ones."""
    starts = section.heading + " "
    bars = [bar for bar in section.bars if bar.strong]
    return [bar if f"{bar.name} ".startswith(starts) else replace(bar, name=starts + bar.name) for bar in bars]


def in_words(name: str) -> str:
    """A name as people read it.

    >>> in_words("empathic_pain")
    'empathic pain'
    """
    return name.replace("_", " ")


def _rounded_up(value: float) -> float:
    """The next round number (1, 2 or 5 times a power of ten) from a positive value on; 0 for others."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))
