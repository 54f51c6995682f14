"""The command `inspect`: it shows what a bundle or a recording holds, and which topics would feed which streams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.cli.options import JsonOption, save_json
from taemi_edge.cli.run_options import ClockOption, MapOption
from taemi_edge.cli.tables import as_text, make_console, new_table, number, print_description
from taemi_edge.errors import UsageError, in_one_line

if TYPE_CHECKING:
    from taemi_edge.media.recordings.describing import RecordingDescription

#: So many fields of a topic are shown; --json has more.
_MOST_FIELDS = 8


def inspect(
    place: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE|RECORDING", help="A bundle folder, or a recording: .mcap, or a ROS bag."),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="With a recording: the model whose streams it is to feed."),
    ] = None,
    topics: MapOption = None,
    clock: ClockOption = "auto",
    json_file: JsonOption = None,
    card: Annotated[
        bool, typer.Option("--card", help="Print the model card instead: use, limits, licence, figures.")
    ] = False,
) -> None:
    """Show what a bundle holds, with every hash verified; or the topics of a recording, and what they would feed."""
    from taemi_edge.media.recordings.opening import is_recording

    if other is not None and is_recording(other) and not is_recording(place):
        place, other = other, place
    if card and (json_file is not None or is_recording(place)):
        raise UsageError("--card: expected a bundle, and neither a recording nor --json beside it: leave those away")
    if is_recording(place):
        description = _of_recording(place, other, topics, clock)
        _print_recording(description)
        save_json(json_file, description)
        return
    if other is not None or topics or clock != "auto":
        asked = other or ("--map" if topics else "--clock")
        raise UsageError(f"{asked}: expected a recording beside the bundle, got {place}, which is none")
    from taemi_edge.bundle.describe import describe_bundle
    from taemi_edge.media.places import what_is_at

    if place.is_dir() and not (place / "manifest.json").exists() and (found := what_is_at(place)) != "a folder":
        raise UsageError(f"{place}: expected a bundle or a recording, found {found}")
    if card:
        _print_card(place)
        return
    bundle = describe_bundle(place)
    print_description(bundle)
    save_json(json_file, bundle)


def _print_card(place: Path) -> None:
    """Print the model card of a bundle: rendered on a terminal, and as Markdown into a pipe or a file."""
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.bundle.shown_card import card_of_bundle

    card = card_of_bundle(open_bundle(place))
    console = make_console()
    console.soft_wrap = False
    if not console.is_terminal:
        typer.echo(card, nl=False)
        return
    from rich.markdown import Markdown

    _, _, shown = card.partition("\n---\n") if card.startswith("---\n") else ("", "", card)
    console.print(Markdown(shown, hyperlinks=False))


def _of_recording(place: Path, bundle: Path | None, topics: list[str] | None, clock: str) -> RecordingDescription:
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.media.recordings.describing import describe_recording
    from taemi_edge.media.recordings.recorded_clock import clock_named
    from taemi_edge.media.recordings.topic_map import read_map

    if topics and bundle is None:
        raise UsageError(
            "--map: expected a bundle behind the recording, whose streams the topics are to feed, got none"
        )
    streams = None if bundle is None else open_bundle(bundle).manifest.streams
    return describe_recording(place, streams, read_map(topics or ()), clock_named(clock))


def _print_recording(description: RecordingDescription) -> None:
    """Print a row for each topic, what feeds what, and what is wrong with the recording."""
    length = "" if description.duration_s is None else f", {description.duration_s:.3f} s"
    columns = ["topic", "type", "messages", "a second", "fields"]
    has_streams = bool(description.map)
    table = new_table(
        f"{description.path}  (begins {description.begins}{length})",
        [*columns, *(["feeds"] if has_streams else [])],
        left=("topic", "type", "fields", "feeds"),
    )
    for topic in description.topics:
        fields = ", ".join(topic.fields[:_MOST_FIELDS]) + (", ..." if len(topic.fields) > _MOST_FIELDS else "")
        rate = "" if topic.rate_hz is None else number(topic.rate_hz, 1)
        count = "" if topic.count is None else f"{topic.count:,}"
        kind = topic.type if topic.encoding == "cdr" else f"{topic.type} ({topic.encoding})"
        row = [
            topic.name,
            kind,
            count,
            rate,
            topic.problem or fields,
            *([", ".join(topic.streams)] if has_streams else []),
        ]
        table.add_row(*map(as_text, row))
    make_console().print(table)
    for name, found in description.map.items():
        by_type = ", by its type" if name in description.guessed else ""
        typer.echo(f"stream        {name}: --map {name}={in_one_line(found)}{by_type}")
    for name, why in description.absent.items():
        typer.echo(f"stream        {name}: {why}")
    if description.problem:
        typer.echo(f"problem       {in_one_line(description.problem)}")
    for note in description.notes:
        typer.echo(f"note          {in_one_line(note)}")
