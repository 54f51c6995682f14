"""Writes docs/reference/commands.md from the command line itself: `python -m tools.site.commands [--check]`.

Everything about a command comes from its Typer declaration and from `taemi_edge/cli/help_texts.py`. Only the beginning
of the page and the table of environment variables are written here.
"""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from taemi_edge.cli.help_texts import EXAMPLES, GLOSSARY, GROUPS, OPTION_GROUPS, PAGES
from taemi_edge.cli.main import app
from tools.site.written import write_or_check

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "commands.md"
_HEAD = f"""# Commands

Every command of `taemi-edge`, as `taemi-edge COMMAND --help` tells it. This page is made from the program itself, by
`python -m tools.site.commands`. The words that it uses are explained in the [glossary](../{GLOSSARY}.md).
[Files that commands write](files-written.md) says what is left when a command is stopped.
"""
_EXIT_CODES = """## Exit codes

| code | what it means |
|---|---|
| 0 | Done. A live run that Ctrl-C or SIGTERM ends is done, too. |
| 1 | A check failed: parity, a bar of an evaluation, a signature, an update that was taken back. |
| 2 | Wrong use or bad input, or something could not be written. One sentence says what to do. |
| 70 | A defect of taemi-edge. One sentence says how to report it; `TAEMI_EDGE_TRACEBACK=1` prints the traceback. |
| 129, 130, 143 | The terminal was closed; Ctrl-C; SIGTERM. Whatever was written is whole. |
| 141 | The program that reads standard output ended first, as `head` does. |
"""
_TAB_KEY = """## The tab key

```sh
taemi-edge --install-completion              # in bash, zsh or fish; --shell NAME chooses another
taemi-edge --show-completion --shell bash    # the same script, printed
```

With it the tab key completes commands, options and values that are known: precisions, targets, recipes, bundles by name
and by folder, and the streams of a bundle behind `--drop`, `--stream` and `--map`.

`--install-completion` writes one file into the folder of completions that your shell has for you, and says which. It
changes no start file of the shell: where one has to name that folder, it says the line to add. To try it in one
terminal alone, type `source <(taemi-edge --show-completion --shell bash)`.
"""
#: Each environment variable that the package reads, and what it does. A test holds that none is left out.
VARIABLES: Mapping[str, str] = {
    "TAEMI_EDGE_CACHE": "The folder of engines that were built before; else `taemi-edge` in the user's cache folder.",
    "TAEMI_EDGE_GST_PYTHON": "The Python interpreter that has GStreamer's bindings, where another one runs taemi-edge.",
    "TAEMI_EDGE_STATE": "The folder of this user's own state: what seals engines that were built here.",
    "TAEMI_EDGE_TOKEN": "What clients of the live page must show, as with `--token-file`.",
    "TAEMI_EDGE_TRACEBACK": "With 1, every error is followed by its traceback.",
    "TAEMI_EDGE_TRUSTED_KEY": "The public key of whom this device trusts, as with `--require-signature`.",
    "XDG_CACHE_HOME": "The user's cache folder.",
    "XDG_CONFIG_HOME": "The user's configuration folder: credentials of a registry, and completions of fish.",
    "XDG_DATA_HOME": "The user's data folder, where completions of bash lie.",
    "XDG_RUNTIME_DIR": "Where a registry's credentials may lie.",
    "XDG_STATE_HOME": "The folder that holds `TAEMI_EDGE_STATE` by default.",
    "SHELL": "The shell to complete in, where none is found that runs the command.",
    "COMP_WORDS": "Set by bash: the line that is to be completed.",
    "_TYPER_COMPLETE_ARGS": "The same, set by zsh and fish.",
    "DOCKER_CONFIG": "The folder with Docker's `config.json`, for a registry's credentials.",
    "REGISTRY_AUTH_FILE": "A file with credentials of registries, as Podman has it.",
    "NOTIFY_SOCKET": "Set by systemd: a live run says there that it is ready and alive.",
    "ROS_DOMAIN_ID": "The domain of ROS 2 whose topics are read and published.",
    "OMP_NUM_THREADS": "The threads of numerical libraries. Commands that start workers set it for them.",
    "MKL_NUM_THREADS": "The same for MKL.",
    "ORT_DISABLE_TELEMETRY": (
        "ONNX Runtime's wheels for Linux report from version 1.29 on what they run, with hashes of the weights, to "
        "their maker. taemi-edge turns that off by setting 1; set 0 to allow it. A program that makes a session of "
        "ONNX Runtime before it imports taemi_edge sets 1 itself."
    ),
    "RAY_AUTH_MODE": "Whether a Ray cluster asks for a token.",
    "RAY_AUTH_TOKEN": "The token that a Ray cluster asks for.",
    "RAY_AUTH_TOKEN_PATH": "A file that holds it.",
    "MLFLOW_EXPERIMENT_NAME": "The experiment of MLflow that `sweep --log mlflow` writes to.",
}


def commands_page() -> str:
    """The text of the page."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    blocks = [_HEAD, _contents()]
    for group, names in GROUPS.items():
        blocks.append(f"## {group} commands\n")
        blocks += [_command(name, commands[name]) for name in names]
    blocks += [_EXIT_CODES, _TAB_KEY, _variables()]
    return "\n".join(blocks)


def _contents() -> str:
    rows = [f"| {group} | {', '.join(f'[{name}](#{name})' for name in names)} |" for group, names in GROUPS.items()]
    return "\n".join(["| group | commands |", "|---|---|", *rows, ""])


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if not _is_option(p) and not p.hidden]
    options = [p for p in command.params if _is_option(p) and not p.hidden and p.name != "help"]
    words = [_argument_word(p) for p in arguments]
    words += [f"{p.opts[0]} {p.metavar or _type_word(_annotation(p))}" for p in options if p.required]
    lines = [f"### {name}", "", *_prose(command.help or ""), ""]
    lines += ["```text", *_wrapped(f"taemi-edge {name} {' '.join(words)} [OPTIONS]", "    "), "```", ""]
    if name in PAGES and PAGES[name] != "reference/commands":
        lines += [f"More: [{_title(PAGES[name])}](../{PAGES[name]}.md).", ""]
    if EXAMPLES.get(name):
        lines += ["**Examples**", "", "```sh"]
        for example in EXAMPLES[name]:
            lines += [*_wrapped(f"# {example.does}", "# "), *_shell(example.words)]
        lines += ["```", ""]
    for panel, parameters in _panels(name, arguments, options):
        if not parameters:
            continue
        lines += [f"**{panel}**", ""]
        for parameter in parameters:
            lines += _parameter(parameter)
        lines.append("")
    return "\n".join(lines)


def _title(page: str) -> str:
    """The first heading of a page."""
    text = (PAGE.parent.parent / f"{page}.md").read_text(encoding="utf-8")
    return text.splitlines()[0].removeprefix("# ")


def _panels(name: str, arguments: list[Any], options: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Arguments, and options in the groups of the help; those that are in none come last."""
    yield "Arguments", arguments
    rest = list(options)
    for title, flags in OPTION_GROUPS.get(name, {}).items():
        found = [option for flag in flags for option in rest if option.opts[0] == flag]
        rest = [option for option in rest if option not in found]
        yield title, found
    yield "Options" if len(rest) == len(options) else "Other options", rest


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _argument_word(parameter: Any) -> str:
    word = str(parameter.metavar or parameter.name.upper())
    word = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    return word if parameter.required else f"[{word}]"


def _parameter(parameter: Any) -> list[str]:
    """One item of a list: how it is written, what it takes, what it does, its default."""
    annotation = _annotation(parameter)
    if _is_option(parameter):
        value = "" if annotation is bool else f" {parameter.metavar or _type_word(annotation)}"
        head = ", ".join(f"`{word}{value}`" for word in [*reversed(parameter.opts), *parameter.secondary_opts])
    else:
        head = f"`{_argument_word(parameter)}`"
    notes = [_type_note(annotation)] if _type_note(annotation) else []
    if parameter.required and _is_option(parameter):
        notes.append("required")
    if _is_many(parameter):
        notes.append("may be repeated" if _is_option(parameter) else "one or more")
    if parameter.envvar:
        notes.append(f"environment: `{parameter.envvar}`")
    said, default = _said_and_default(parameter)
    text = f"- {head}" + (f" ({'; '.join(notes)})" if notes else "") + f": {_escaped(said)}{default}"
    return _wrapped(text, "  ")


def _annotation(parameter: Any) -> Any:
    annotation = parameter.type_descriptor.annotation
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _is_many(parameter: Any) -> bool:
    return get_origin(parameter.type_descriptor.annotation) is list


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [str(choice.value) for choice in annotation]
    return []


def _type_word(annotation: Any) -> str:
    return "|".join(_choices(annotation)) or {int: "N", float: "X", Path: "PATH"}.get(annotation, "TEXT")


def _type_note(annotation: Any) -> str:
    if _choices(annotation):
        return ""  # they stand behind the option
    return {bool: "", int: "integer", float: "number", Path: "path", str: "text"}[annotation]


def _said_and_default(parameter: Any) -> tuple[str, str]:
    """What the help says, and the default: the one that it names in brackets, or else the value itself."""
    said = _plain(parameter.help or "")
    if named := re.fullmatch(r"(.*?)\s*\[default: (.*)\]\.?", said):
        return f"{named[1].rstrip('.')}.", f" Default: {_escaped(named[2])}."
    value = parameter.default
    if value in (None, False, "", [], ()) or not parameter.show_default:
        return said, ""
    shown = value.value if isinstance(value, enum.Enum) else value
    return said, " Default: yes." if shown is True else f" Default: `{shown}`."


def _plain(text: str) -> str:
    """A help text in one line."""
    return " ".join(text.split())


def _prose(text: str) -> list[str]:
    """What a command does, in paragraphs; its examples stand below."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip().replace("\b\n", "")):
        if paragraph.strip() == "Examples:":
            break
        lines += [*_wrapped(_escaped(_plain(paragraph)), ""), ""]
    return lines[:-1]


def _escaped(text: str) -> str:
    """Text in which Markdown sees nothing but code."""
    pieces = re.split(r"(`[^`]*`)", text)
    # A backslash before `<` is none of Markdown's escapes: the browser would read `<model>` as an element.
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([*\[\]|])", r"\\\1", piece).replace("<", "&lt;")
        for piece in pieces
    )


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _shell(words: str) -> list[str]:
    """A command line in lines of a shell."""
    kept = re.sub(r"(\s--?[\w-]+) (?!-)", "\\1\0", words)  # an option and its value stay together
    lines = textwrap.wrap(kept, 110, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    lines = [line.replace("\0", " ") for line in lines]
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _variables() -> str:
    lines = ["## Environment variables", ""]
    for name, meaning in VARIABLES.items():
        lines += _wrapped(f"- `{name}`: {meaning}", "  ")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_or_check({PAGE: commands_page()}, "python -m tools.site.commands")
