"""Prints the help of a command and of the whole command line, from Typer's own objects and `cli/help_texts.py`.

Typer's own pages take square brackets for styles, so that a default written in them vanishes, and in a narrow terminal
they cut what does not fit. Here every text is shown as it is, and what is too long goes on in the next line.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from taemi_edge.cli.help_texts import EXAMPLES, GLOSSARY, GROUPS, OPTION_GROUPS, PAGES
from taemi_edge.pages import page

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: A page is no wider: long lines are hard to read.
_WIDEST = 120
#: The column of names takes so much of a page at most.
_SHARE_OF_NAMES = 0.42
#: What a value is called where an option has no word of its own for it.
_KINDS = {"int": "N", "integer": "N", "float": "X", "path": "PATH"}


def print_command_help(command: Any, ctx: Any) -> None:
    """Print the help of one command: what it does, its options in groups, examples, and where to read on."""
    console = _console()
    _print_head(console, command, ctx)
    parameters = [parameter for parameter in command.get_params(ctx) if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in parameters if is_argument(parameter)]
    _print_panel(console, "Arguments", [_row(parameter, ctx) for parameter in arguments])
    for title, options in _grouped(command.name, [found for found in parameters if found not in arguments]):
        _print_panel(console, title, [_row(parameter, ctx) for parameter in options])
    for example in EXAMPLES.get(command.name, ()):
        _print_example(console, example.does, example.words)
    _print_pages(console, PAGES.get(command.name, "reference/commands"))


def print_group_help(group: Any, ctx: Any) -> None:
    """Print the help of the whole command line: its commands in groups."""
    console = _console()
    _print_head(console, group, ctx)
    for title, names in GROUPS.items():
        rows = [(name, first_paragraph(group.get_command(ctx, name).help)) for name in names]
        _print_panel(console, title, rows)
    options = [parameter for parameter in group.get_params(ctx) if not getattr(parameter, "hidden", False)]
    _print_panel(console, "Options", [_row(parameter, ctx) for parameter in options])
    _print_example(console, "See every step on a clip that ships with the package.", "taemi-edge demo")
    _print_example(console, "Read what a command does, with examples.", "taemi-edge run --help")
    _print_pages(console, "")


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def shown_default(parameter: Any, ctx: Any) -> str:
    """The default of an option as the help writes it; empty where there is none, or its text says it already.

    A switch that is off by default has none.
    """
    default = parameter.get_default(ctx, call=False)
    if default is None or "[default: " in (parameter.help or "") or parameter.required:
        return ""
    if getattr(parameter, "is_bool_flag", False):
        names = parameter.opts if default else parameter.secondary_opts
        return names[0] if parameter.secondary_opts else ""
    if isinstance(default, list | tuple):
        return ", ".join(map(str, default))
    return str(default.value if isinstance(default, Enum) else default)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, _WIDEST)
    return console


def _print_head(console: Console, command: Any, ctx: Any) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print()
    console.print(Padding(Text(f"Usage: {words_before(ctx)} {_usage(command, ctx)}", "bold", overflow="fold"), (0, 1)))
    console.print()
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        console.print(Padding(Text(" ".join(paragraph.split()), overflow="fold"), (0, 1)))
        console.print()


def _usage(command: Any, ctx: Any) -> str:
    """The words behind a command's name; those that may be left out stand in brackets."""
    if hasattr(command, "commands"):
        return "[OPTIONS] COMMAND [ARGS]..."
    words = [(_argument(found), found.required) for found in command.get_params(ctx) if is_argument(found)]
    return " ".join(["[OPTIONS]", *(word if required else f"[{word}]" for word, required in words)])


def is_argument(parameter: Any) -> bool:
    """Whether a parameter is a word of its own, without a flag."""
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any) -> str:
    word = str(parameter.metavar or parameter.name.upper())
    inside = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    return f"{inside}..." if parameter.nargs == -1 and not inside.endswith("...") else inside


def words_before(ctx: Any) -> str:
    """The words before the options: never those of an interpreter, which `python -m` would show."""
    names = []
    while ctx.parent is not None:
        names.append(ctx.info_name)
        ctx = ctx.parent
    return " ".join(["taemi-edge", *reversed(names)])


def _grouped(name: str, options: Sequence[Any]) -> Iterable[tuple[str, list[Any]]]:
    """The options of a command in their groups; those that are in none come last."""
    groups = OPTION_GROUPS.get(name, {})
    taken: set[str] = set()
    for title, flags in groups.items():
        found = [option for flag in flags for option in options if option.opts[0] == flag]
        taken.update(option.opts[0] for option in found)
        yield title, found
    yield "Options", [option for option in options if option.opts[0] not in taken]


def _row(parameter: Any, ctx: Any) -> tuple[RenderableType, RenderableType]:
    """An option's names with what it takes, and its text with its default."""
    from rich.text import Text

    names, says = Text(overflow="fold"), Text(overflow="fold")
    if is_argument(parameter):
        names.append(_argument(parameter), style="bold cyan")
    else:
        names.append(", ".join((*sorted(parameter.opts, key=len), *parameter.secondary_opts)), style="bold cyan")
        if not getattr(parameter, "is_flag", False):
            names.append(f" {_taken(parameter)}", style="yellow")
    says.append(" ".join((parameter.help or "").split()))
    if default := shown_default(parameter, ctx):
        says.append(f"  [default: {default}]", style="dim")
    if parameter.required:
        says.append("  [required]", style="dim red")
    return names, says


def _taken(parameter: Any) -> str:
    """What stands behind an option: its metavar, its choices, or the kind of its value with its least one."""
    if parameter.metavar:
        return str(parameter.metavar)
    choices = choices_of(parameter)
    return "|".join(choices) if choices else kind_of(parameter)


def kind_of(parameter: Any) -> str:
    """The kind of an option's value and its least one, such as N>=1 for a whole number.

    Example:
        >>> from types import SimpleNamespace as Option
        >>> kind_of(Option(type_descriptor=Option(annotation=int), min=1))
        'N>=1'
    """
    kind = getattr(parameter, "type", None)  # of Click, on which Typer stood until 0.26
    described = getattr(parameter, "type_descriptor", None)
    name = getattr(getattr(described, "annotation", None), "__name__", None) or getattr(kind, "name", "")
    least = getattr(parameter, "min", None) if described is not None else getattr(kind, "min", None)
    return _KINDS.get(str(name).split(" ")[0].lower(), "TEXT") + ("" if least is None else f">={least:g}")


def choices_of(parameter: Any) -> tuple[str, ...]:
    """The values that an option may have, where they are a fixed set."""
    kind = getattr(parameter, "type_descriptor", None) or getattr(parameter, "type", None)
    found = getattr(kind, "choices", None) or ()
    return tuple(str(value.value if isinstance(value, Enum) else value) for value in found)


def _print_panel(console: Console, title: str, rows: Sequence[tuple[Any, Any]]) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    names = [name if isinstance(name, Text) else Text(name, style="bold cyan", overflow="fold") for name, _ in rows]
    texts = [text if isinstance(text, Text) else Text(text, overflow="fold") for _, text in rows]
    width = min(max(name.cell_len for name in names), int(console.width * _SHARE_OF_NAMES))
    table = Table(show_header=False, box=None, expand=True, padding=(0, 2, 0, 0))
    table.add_column(width=width, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for name, text in zip(names, texts, strict=True):
        table.add_row(name, text)
    console.print(Panel(table, title=title, title_align="left", border_style="dim"))


def _print_example(console: Console, does: str, words: str) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(f" {does}", style="dim", overflow="fold"))
    console.print(Text(f"   {words}", style="green"), soft_wrap=True)  # one line, to be copied


def _print_pages(console: Console, own: str) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(f" Read on:        {page(own) if own else page('')[:-1]}"), soft_wrap=True)
    console.print(Text(f" Words it uses:  {page(GLOSSARY)}"), soft_wrap=True)
    console.print()
