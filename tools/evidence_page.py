"""Writes docs/evidence/index.md, the page with the project's figures: python tools/evidence_page.py [--check]

Every figure on that page is read out of a JSON file under benchmarks/. What stands around the figures is written by
people, in benchmarks/evidence/*.md, which are put together in the order of their names. There, a figure is a place in
a file between two pairs of braces. How it is written may follow it (Python's format), and it may be divided or
multiplied by another figure or by a whole number:

    {{cpu/hop/now/total_ms | .1f}} ms
    {{cpu/parts/vision/fp32_ms ÷ cpu/parts/vision/engine_ms | .1f}} times as fast
    {{rivals/parts/[part=audio&batch=1]/limit_ms | .1f}}        the first entry of a list that has these values

A line `@provenance cpu.json` becomes a sentence that says where, when and by which command that file was made. New
files say so themselves (`taemi_edge.bench.provenance`). For older ones it stands in benchmarks/provenance.toml, with
the place where it was found.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "evidence" / "index.md"
COLUMNS = 120
#: Of a file that no text speaks of.
MOST_ROWS = 40
_FIGURE = re.compile(r"\{\{(.+?)\}\}")
_PROVENANCE = re.compile(r"^@provenance ([\w.-]+)$")
#: What a `machine` says of the machine itself. Whatever else stands there is the version of a library.
_OF_THE_MACHINE = {
    "architecture", "cores", "cpu", "cuda", "driver", "gpu", "l4t", "load_at_the_end", "load_before", "machine",
    "memory_gb", "model", "processor", "processors", "sm", "sm_count", "system", "vnni",
}  # fmt: skip


class EvidenceError(Exception):
    """A page that cannot be written; the message says what to change."""


@dataclass(frozen=True)
class Provenance:
    """How a file under benchmarks/ was made.

    Attributes:
        versions: of the interpreter and of libraries, by name; empty where nobody wrote them down.
        date: the day on which it was measured, or recorded where only that is known.
        source: where this was found; empty where the file itself says all of it.
    """

    command: str
    machine: str
    versions: dict[str, str]
    date: str
    source: str = ""


def main(words: list[str] | None = None) -> int:
    """Write the page, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description="Writes docs/evidence/index.md from the files under benchmarks/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page differs")
    given = parser.parse_args(words)
    try:
        text = page(BENCHMARKS)
    except EvidenceError as error:
        print(f"evidence_page: {error}", file=sys.stderr)
        return 2
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what the JSON files give: run `python tools/evidence_page.py`")
    return 1


def page(folder: Path) -> str:
    """The whole page.

    Args:
        folder: with the JSON files, provenance.toml, and the texts in evidence/.

    Raises:
        EvidenceError: a figure has no place in its file, or a file does not say how it was made.
    """
    reports = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    made = {f"{name}.json": provenance_of(f"{name}.json", report, folder) for name, report in reports.items()}
    told: set[str] = set()
    lines: list[str] = []
    for file in sorted((folder / "evidence").glob("*.md")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            asked = _PROVENANCE.match(line)
            try:
                lines += told_provenance(asked[1], made) if asked else [with_figures(line, reports)]
            except EvidenceError as error:
                raise EvidenceError(f"{file.name}, line {number}: {error}") from None
            told |= {asked[1]} if asked else set()
        lines.append("")
    for number, name in enumerate(sorted(made.keys() - told)):
        lines += [] if number else ["## Files that no text speaks of yet", ""]
        stem = name.removesuffix(".json")
        lines += [f"### {stem}", *told_provenance(name, made), *plain_table(reports[stem]), ""]
    return wrapped(lines)


def plain_table(report: Mapping[str, Any]) -> list[str]:
    """The first figures of a file, each with its place, until somebody writes a text about it."""
    rows = [
        f"| {place} | {_written(value, '')} |" for place, value in _figures(report, "") if "provenance" not in place
    ]
    return ["| place | figure |", "|---|---|", *rows[:MOST_ROWS]] if rows else []


def _figures(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _figures(each, f"{place}/{key}".lstrip("/"))
    elif isinstance(value, (bool, int, float)):
        yield place, value


# --------------------------------------------------------------------------------------------------------- figures


def with_figures(line: str, reports: Mapping[str, Any]) -> str:
    """A line of text with its figures.

    >>> with_figures("{{a/hop_ms | .1f}} ms", {"a": {"hop_ms": 2.04}})
    '2.0 ms'
    >>> with_figures("{{a/[of=x]/n}} of {{a/count}}", {"a": [{"of": "y", "n": 3}, {"of": "x", "n": 7}]})
    '7 of 2'
    """
    return _FIGURE.sub(lambda found: _figure(found[1], reports), line)


def _figure(words: str, reports: Mapping[str, Any]) -> str:
    place, _, form = words.partition("|")
    first, *others = re.split("([÷*])", place)
    value = _value(first.strip(), reports)
    for sign, other in zip(others[::2], others[1::2], strict=True):
        factor = float(other) if other.strip().isdigit() else _value(other.strip(), reports)
        value = value / factor if sign == "÷" else value * factor
    form = form.strip()
    try:
        return _written(value, form)
    except (TypeError, ValueError):
        raise EvidenceError(f"expected a value to be written as {form!r} at {place.strip()}, got {value!r}") from None


def _written(value: Any, form: str) -> str:
    """A value as people write it: a half is rounded up, and yes and no are words.

    >>> _written(2.55, ".1f"), _written(0.125, ".0%"), _written(True, "")
    ('2.6', '13 %', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and form:
        with localcontext(Context(rounding=ROUND_HALF_UP)):
            return format(Decimal(repr(value)), form).replace("%", " %")
    return format(value, form)


def _value(place: str, reports: Mapping[str, Any]) -> Any:
    """What stands at a place, which begins with the name of a file."""
    found: Any = reports
    for step in place.split("/"):
        try:
            found = _step(found, step)
        except (KeyError, IndexError, StopIteration, TypeError, ValueError):
            raise EvidenceError(f"expected a value at {place}, found nothing at {step!r}") from None
    return found


def _step(found: Any, step: str) -> Any:
    if step.startswith("["):
        wanted = dict(pair.split("=", 1) for pair in step[1:-1].split("&"))
        return next(each for each in found if all(str(each[key]) == value for key, value in wanted.items()))
    if step == "count":
        return len(found)
    return found[int(step)] if isinstance(found, list) else found[step]


# ------------------------------------------------------------------------------------------------------ provenance


def provenance_of(name: str, report: Mapping[str, Any], folder: Path = BENCHMARKS) -> Provenance:
    """How a file was made: as it says itself, and what it leaves out as provenance.toml says.

    Raises:
        EvidenceError: neither says the command, the machine or the date.
    """
    with (folder / "provenance.toml").open("rb") as stream:
        entry: dict[str, Any] = tomllib.load(stream).get(name, {})
    own = report.get("provenance", {})
    said = {what: own.get(what) or report.get(what) for what in ("command", "machine", "date")}
    for what, value in said.items():
        if not value and not entry.get(what):
            raise EvidenceError(f"expected {name} or provenance.toml to say its {what}, found nothing")
    looked_up = {key: entry[key] for key in entry if key != "source" and not said.get(key)}
    if own or "contenders" in report:
        looked_up.pop("versions", None)
    found = {**looked_up, **{what: value for what, value in said.items() if value}}
    machine = found["machine"]
    within = {key: str(value) for key, value in machine.items()} if isinstance(machine, Mapping) else {}
    versions = {key: value for key, value in within.items() if key not in _OF_THE_MACHINE}
    versions |= looked_up.get("versions", {}) | _of_contenders(report)
    versions |= report.get("versions", {}) | own.get("versions", {})
    return Provenance(
        command=found["command"],
        machine=_described(within) if within else machine,
        versions=versions,
        date=str(found["date"]),
        source=entry.get("source", "") if looked_up else "",
    )


def _of_contenders(report: Mapping[str, Any]) -> dict[str, str]:
    """The libraries of a report of `taemi-edge bench`, where each contender says its own."""
    told = [each["library"].partition(" ") for each in report.get("contenders", {}).values() if "library" in each]
    return {name: version for name, _, version in told}


def _described(machine: Mapping[str, str]) -> str:
    """A machine in words: its processor, cores and GPU, and how busy it was."""
    cores = machine.get("cores") or machine.get("processors")
    said = [
        machine.get("processor") or machine.get("cpu") or machine.get("machine") or machine.get("architecture", ""),
        {"True": "AVX-512 VNNI or AVX-VNNI", "False": "no VNNI"}.get(machine.get("vnni", ""), ""),
        f"{cores} cores" if cores else "",
        machine.get("gpu", ""),
        f"driver {machine['driver']}" if "driver" in machine else "",
        f"load {float(machine['load_before']):.1f} before" if "load_before" in machine else "",
        f"load {float(machine['load_at_the_end']):.1f} at the end" if "load_at_the_end" in machine else "",
    ]
    return ", ".join(filter(None, said))


def told_provenance(name: str, made: Mapping[str, Provenance]) -> list[str]:
    """A sentence and the command, as lines of Markdown."""
    if name not in made:
        raise EvidenceError(f"expected the name of a JSON file under benchmarks/, got {name}")
    by = made[name]
    versions = ", ".join(f"{key} {value}" for key, value in by.versions.items())
    sentences = [f"[{name}](../../benchmarks/{name}), {by.date}.", f"Machine: {by.machine}."]
    sentences += [f"Versions: {versions}."] if versions else ["Versions: not written down."]
    sentences += [f"Not in the file itself: {by.source}."] if by.source else []
    return ["", " ".join(sentences), "", "```text", *_broken(by.command), "```", ""]


def _broken(command: str) -> list[str]:
    """A command in lines that a shell reads as one, where it is one; else in lines that fit."""
    try:
        shlex.split(command)
        end = " \\"
    except ValueError:
        end = ""
    lines = textwrap.wrap(
        command, COLUMNS - len(end) - 4, break_long_words=False, break_on_hyphens=False, subsequent_indent="    "
    )
    return [line + end for line in lines[:-1]] + lines[-1:]


# ------------------------------------------------------------------------------------------------------------ text


def wrapped(lines: list[str]) -> str:
    """Lines of Markdown with paragraphs and list items of at most `COLUMNS` columns; one empty line between blocks."""
    result: list[str] = []
    words: list[str] = []
    indent, fenced = "", False

    def flush() -> None:
        nonlocal words, indent
        if words:
            text = " ".join(words)
            result.extend(
                textwrap.wrap(text, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
            )
        words, indent = [], ""

    for line in lines:
        fence = line.startswith("```")
        if fence or fenced or not line.strip() or line.startswith(("#", "|", "!", "<", ":", "---")):
            flush()
            fenced ^= fence
            if line.strip() or fenced or (result and result[-1]):
                result.append(line.rstrip())
        elif line.startswith("- "):
            flush()
            words, indent = [line.strip()], "  "
        else:
            words.append(line.strip())
    flush()
    return "\n".join(result).strip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
