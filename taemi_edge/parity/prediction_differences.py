"""How far the predictions of two models on the same hops are apart: outputs, labels and presence.

The pairs come one by one, and only sums of them are kept, so that a day of predictions takes no more memory than a
minute. Nothing is judged: which of the two is right is said by labels alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from taemi_edge.runtime.prediction import Prediction


@dataclass(frozen=True)
class NumberDifference:
    """How far one number of a group of outputs is apart.

    Attributes:
        mean: of the absolute differences.
        largest: of them.
        at_s: when it was the largest, in seconds on the source's clock.
        pearson: the correlation of the two; None where it is undefined, as of a number that never changes.
        hops: in how many hops both had it.
    """

    mean: float
    largest: float
    at_s: float
    pearson: float | None
    hops: int


@dataclass(frozen=True)
class GroupDifference:
    """How far a group of outputs is apart.

    Attributes:
        numbers: by name; those that only one of the two has are left out.
        labels: in how many hops both named labels; 0 for a group of numbers.
        changed: in how many of them the labels differ: the best class, or the classes that are present.
        only_recorded, only_new: names that only one of the two has.
    """

    numbers: Mapping[str, NumberDifference]
    labels: int
    changed: int
    only_recorded: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    @property
    def largest(self) -> tuple[str, NumberDifference] | None:
        """The number that is furthest apart; None where there is none in both."""
        return max(self.numbers.items(), key=lambda item: item[1].largest, default=None)

    @property
    def mean(self) -> float:
        """The mean difference of all numbers."""
        return sum(number.mean for number in self.numbers.values()) / max(1, len(self.numbers))


@dataclass(frozen=True)
class PresenceDifference:
    """In how many hops a stream was in each pair of states, the recorded one first.

    Attributes:
        hops: by the pair of states.
    """

    hops: Mapping[tuple[str, str], int]

    @property
    def changed(self) -> int:
        """In how many hops the two differ."""
        return sum(count for (before, after), count in self.hops.items() if before != after)


@dataclass(frozen=True)
class Differences:
    """How far the predictions of two models are apart.

    Attributes:
        hops: how many pairs there were.
        groups: by output, of those that both have.
        presence: by stream, of those that both have.
        predicted: in how many hops both, only the recorded and only the new one predicted anything.
    """

    hops: int
    groups: Mapping[str, GroupDifference]
    presence: Mapping[str, PresenceDifference]
    predicted: tuple[int, int, int]

    @property
    def largest(self) -> float | None:
        """The largest difference of any number; None where the two have no number in common."""
        found = [group.largest[1].largest for group in self.groups.values() if group.largest is not None]
        return max(found, default=None)


def numbers_of(described: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a group of outputs of a prediction: probabilities of classes, or the numbers themselves.

    >>> numbers_of({"best": "open", "probabilities": {"open": 0.75, "shut": 0.25}})
    {'open': 0.75, 'shut': 0.25}
    """
    held = described.get("probabilities")
    found = held if isinstance(held, Mapping) else described
    numbers = {name: _number(value) for name, value in found.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def labels_of_group(described: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The labels of a group of classes: the best one, or those that are present; None for a group of numbers."""
    if not isinstance(described.get("probabilities"), Mapping):
        return None
    present = described.get("present")
    return tuple(present) if isinstance(present, list | tuple) else (str(described.get("best")),)


def _number(value: Any) -> float:
    """A value as a number; NaN where it is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


class DifferenceCounter:
    """Compares pairs of predictions as they come.

    Example:
        >>> def made(value, state):
        ...     return Prediction(
        ...         source="", time_s=1.0, window_s=(0.0, 1.0), outputs={"pull": {"newton": value}},
        ...         presence={"imu": state}, age_ms={}, latency_ms={}, reason={}, status="ok",
        ...     )
        >>> counter = DifferenceCounter()
        >>> counter.add(made(1.0, "live"), made(1.5, "stale"))
        >>> found = counter.differences()
        >>> found.largest, found.presence["imu"].changed
        (0.5, 1)
    """

    def __init__(self) -> None:
        self._hops = 0
        self._predicted = Counter[tuple[bool, bool]]()
        self._groups: dict[str, _Group] = {}
        self._presence: dict[str, Counter[tuple[str, str]]] = {}

    def add(self, recorded: Prediction, new: Prediction) -> None:
        """Add the two predictions of one hop."""
        self._hops += 1
        self._predicted[_has_outputs(recorded), _has_outputs(new)] += 1
        for name in (name for name in recorded.outputs if name in new.outputs):
            before, after = recorded.outputs[name], new.outputs[name]
            group = self._groups.setdefault(name, _Group())
            if before is not None and after is not None:
                group.add(before, after, new.time_s)
        for name in (name for name in recorded.presence if name in new.presence):
            states = recorded.presence[name], new.presence[name]
            self._presence.setdefault(name, Counter())[states] += 1

    def differences(self) -> Differences:
        """What the pairs so far amount to."""
        both, only_recorded, only_new = (self._predicted[key] for key in ((True, True), (True, False), (False, True)))
        return Differences(
            self._hops,
            {name: group.difference() for name, group in self._groups.items()},
            {name: PresenceDifference(dict(counts)) for name, counts in self._presence.items()},
            (both, only_recorded, only_new),
        )


class NumberJson(TypedDict):
    """A `NumberDifference` as JSON."""

    mean: float
    largest: float
    at_s: float
    pearson: float | None
    hops: int


class LabelsJson(TypedDict):
    """In how many hops both named labels, and in how many of these they differ."""

    hops: int
    changed: int


class _Compared(TypedDict):
    numbers: dict[str, NumberJson]
    labels: LabelsJson


class GroupJson(_Compared, total=False):
    """How far a group of outputs is apart, and the names that only one of the two has."""

    only_recorded: list[str]
    only_new: list[str]


class PresenceJson(TypedDict):
    """In how many hops a stream was in another state, and in how many in each pair: "live>missing"."""

    changed: int
    hops: dict[str, int]


class DifferencesJson(TypedDict):
    """How far the predictions of two models are apart, by output and by stream."""

    hops: int
    largest: float | None
    predicted: dict[str, int]
    outputs: dict[str, GroupJson]
    presence: dict[str, PresenceJson]


class ReplayJson(DifferencesJson):
    """`replay --json`: which bundle was run on which recording, and how far both are apart."""

    recording: str
    bundle: str


def differences_json(found: Differences) -> DifferencesJson:
    """The differences as JSON."""
    return {
        "hops": found.hops,
        "largest": found.largest,
        "predicted": dict(zip(("both", "only_recorded", "only_new"), found.predicted, strict=True)),
        "outputs": {name: _group_json(group) for name, group in found.groups.items()},
        "presence": {
            name: {
                "changed": presence.changed,
                "hops": {f"{before}>{after}": n for (before, after), n in sorted(presence.hops.items())},
            }
            for name, presence in found.presence.items()
        },
    }


def _group_json(group: GroupDifference) -> GroupJson:
    numbers: dict[str, NumberJson] = {
        name: {"mean": n.mean, "largest": n.largest, "at_s": n.at_s, "pearson": n.pearson, "hops": n.hops}
        for name, n in group.numbers.items()
    }
    described: GroupJson = {"numbers": numbers, "labels": {"hops": group.labels, "changed": group.changed}}
    if group.only_recorded:
        described["only_recorded"] = list(group.only_recorded)
    if group.only_new:
        described["only_new"] = list(group.only_new)
    return described


def number_changes(recorded: Prediction, new: Prediction) -> dict[str, dict[str, float]]:
    """By output, how much larger each number of the new prediction is than that of the recorded one."""
    return {
        name: dict(_changes(recorded.outputs[name] or {}, described or {}))
        for name, described in new.outputs.items()
        if name in recorded.outputs
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    old = numbers_of(before)
    for name, value in numbers_of(after).items():
        if name in old:
            yield name, round(value - old[name], 9)


def _has_outputs(prediction: Prediction) -> bool:
    return any(described is not None for described in prediction.outputs.values())


@dataclass
class _Sums:
    """What is kept of the pairs of one number; the moments are about the first pair, which keeps them exact."""

    origin: tuple[float, float]
    hops: int = 0
    absolute: float = 0.0
    largest: float = -1.0
    at_s: float = 0.0
    moments: list[float] = field(default_factory=lambda: [0.0] * 5)

    def add(self, before: float, after: float, time_s: float) -> None:
        apart = abs(after - before)
        self.hops += 1
        self.absolute += apart
        if apart > self.largest:
            self.largest, self.at_s = apart, time_s
        x, y = before - self.origin[0], after - self.origin[1]
        for index, value in enumerate((x, y, x * x, y * y, x * y)):
            self.moments[index] += value

    def difference(self) -> NumberDifference:
        return NumberDifference(self.absolute / self.hops, self.largest, self.at_s, self._pearson(), self.hops)

    def _pearson(self) -> float | None:
        x, y, xx, yy, xy = (moment / self.hops for moment in self.moments)
        spread = (xx - x * x) * (yy - y * y)
        if spread <= 1e-24 * max(1.0, xx * yy):
            return None
        return max(-1.0, min(1.0, (xy - x * y) / math.sqrt(spread)))


class _Group:
    """What is kept of the pairs of one group of outputs."""

    def __init__(self) -> None:
        self._numbers: dict[str, _Sums] = {}
        self._labels = self._changed = 0
        self._only: tuple[set[str], set[str]] = (set(), set())

    def add(self, before: Mapping[str, Any], after: Mapping[str, Any], time_s: float) -> None:
        old, new = numbers_of(before), numbers_of(after)
        for name in (name for name in old if name in new):
            sums = self._numbers.setdefault(name, _Sums((old[name], new[name])))
            sums.add(old[name], new[name], time_s)
        for only, names in zip(self._only, (old.keys() - new.keys(), new.keys() - old.keys()), strict=True):
            only.update(names)
        was, now = labels_of_group(before), labels_of_group(after)
        if was is not None and now is not None:
            self._labels += 1
            self._changed += was != now

    def difference(self) -> GroupDifference:
        numbers = {name: sums.difference() for name, sums in self._numbers.items()}
        only_recorded, only_new = (tuple(sorted(names - numbers.keys())) for names in self._only)
        return GroupDifference(numbers, self._labels, self._changed, only_recorded, only_new)
