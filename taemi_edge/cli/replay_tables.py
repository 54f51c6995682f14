"""What `taemi-edge replay` prints: how far the outputs and the presence of two models are apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taemi_edge.cli.tables import as_text, make_console, new_table, number

if TYPE_CHECKING:
    from taemi_edge.parity.prediction_differences import Differences, GroupDifference, NumberDifference

#: Of a group with more numbers, those that are furthest apart are listed.
_MOST_ROWS = 8


def print_differences(found: Differences, title: str) -> None:
    """Print a table of outputs, and one of the presence of each stream."""
    console = make_console()
    labels = ("labels changed",) if any(group.labels for group in found.groups.values()) else ()
    columns = ("output", "", "mean difference", "largest", "at", "correlation", *labels)
    table = new_table(f"{title}: {found.hops} hops", columns, left=("output", ""), no_wrap=("output",))
    for name, group in found.groups.items():
        for cells in _rows_of(name, group):
            table.add_row(*cells[: len(columns)])
    console.print(table)
    _print_presence(console, found)
    both, only_recorded, only_new = found.predicted
    if only_recorded or only_new:
        console.print(
            f"{both} hops with both predictions, {only_recorded} with the recorded one alone, {only_new} with the new "
            f"one alone"
        )


def _rows_of(name: str, group: GroupDifference) -> Iterator[tuple[str, ...]]:
    """The rows of a group of outputs: its numbers, those of a large group that are furthest apart."""
    changed = f"{group.changed} of {group.labels}" if group.labels else ""
    furthest = sorted(group.numbers.items(), key=lambda item: -item[1].largest)[:_MOST_ROWS]
    shown = [item for item in group.numbers.items() if item in furthest]
    if not shown:
        yield as_text(name), "nothing that both have", "", "", "", "", changed
    for row, (number_name, apart) in enumerate(shown):
        yield as_text("" if row else name), as_text(number_name), *_cells(apart), "" if row else changed
    if left_out := len(group.numbers) - len(shown):
        yield "", f"and {left_out} nearer", f"{group.mean:.3g}", "", "", "", ""
    for names, whose in ((group.only_recorded, "recorded"), (group.only_new, "new")):
        if names:
            yield "", as_text(f"in the {whose} one alone: {', '.join(names)}"), "", "", "", "", ""


def _cells(apart: NumberDifference) -> tuple[str, ...]:
    at = f"{apart.at_s:.1f} s" if apart.largest else ""
    return f"{apart.mean:.3g}", f"{apart.largest:.3g}", at, number(apart.pearson, 4)


def _print_presence(console: Any, found: Differences) -> None:
    if not found.presence:
        return
    table = new_table("presence", ("stream", "hops alike", "hops changed", "how"), left=("stream", "how"))
    for name, presence in found.presence.items():
        total = sum(presence.hops.values())
        ways = {f"{a} became {b}": n for (a, b), n in sorted(presence.hops.items()) if a != b}
        how = ", ".join(f"{way} {count}" for way, count in ways.items())
        table.add_row(as_text(name), str(total - presence.changed), str(presence.changed), how)
    console.print(table)
