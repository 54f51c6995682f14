"""Turns what Typer says of wrong words into one sentence: what was expected, what came, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taemi_edge.cli.help_pages import choices_of, kind_of, words_before
from taemi_edge.errors import UsageError, expected_one_of, nearest

#: What is no plain word is not repeated: it may be an address with its password.
_PLAIN, _LONGEST = re.compile(r"[\w.,+-]*"), 40


@contextmanager
def wrong_use_as_errors() -> Iterator[None]:
    """Raise an error of this package where Typer refuses words inside the `with` block.

    Raises:
        UsageError: an option or a command is unknown, a value is none that an option takes, or something is missing.
    """
    try:
        yield
    except Exception as error:
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise  # it printed the help
        raise UsageError(_sentence(error)) from error


def _sentence(error: Any) -> str:
    ctx = getattr(error, "ctx", None)
    command = "taemi-edge" if ctx is None else words_before(ctx)
    return f"{_problem(error, ctx)} (`{command} --help` shows what it takes)"


def _problem(error: Any, ctx: Any) -> str:
    kind, said = type(error).__name__, str(error.format_message()).strip().rstrip(".")
    parameter = getattr(error, "param", None)
    if kind == "NoSuchOption":
        return _unknown(error, ctx, said)
    if kind == "MissingParameter" and parameter is not None:
        choices = choices_of(parameter)
        of = f": {expected_one_of(choices)}" if choices else ""
        return f"expected {_name(parameter)}, which is missing{of}"
    if parameter is not None and (choices := choices_of(parameter)):
        found = re.search(r"'(.*)' is not one of ", str(error.message), re.DOTALL)
        if found:
            return f"{_name(parameter)} {expected_one_of(choices, found[1])}"
    if parameter is not None:
        return _value_problem(error, parameter)
    if found := re.match(r"No such command '(.*?)'(?:\.|$)", said):
        return f"expected a command, got {found[1]!r}{nearest(found[1], list(ctx.command.commands))}"
    if found := re.match(r"Got unexpected extra argument\S* \((.*)\)", said, re.DOTALL):
        return f"expected no more words, got {found[1]}"
    if found := re.match(r"Option '(\S+)' requires (?:an argument|(\d+) arguments)", said):
        return f"expected a value behind {found[1]}, got nothing"
    return said


def _value_problem(error: Any, parameter: Any) -> str:
    """What is wrong with a value that is of another kind, such as a word where a number is expected."""
    wanted = {"N": "a whole number", "X": "a number"}.get((kind := kind_of(parameter)).partition(">")[0])
    found = getattr(error.__cause__, "errors", None)  # of Pydantic; Click repeats the value itself
    if wanted is None or found is None:
        return f"{_name(parameter)}: {str(error.message).strip().rstrip('.')}"
    least = f" of at least {kind.partition('>=')[2]}" if ">=" in kind else ""
    value = str(found()[0].get("input"))
    shown = f" {value[:_LONGEST]!r}" if _PLAIN.fullmatch(value) else ""
    return f"{_name(parameter)}{shown}: expected {wanted}{least}"


def _unknown(error: Any, ctx: Any, said: str) -> str:
    word = getattr(error, "option_name", None) or said
    known = [flag for parameter in ctx.command.get_params(ctx) for flag in parameter.opts] if ctx is not None else []
    return f"{word} is no option of `{words_before(ctx)}`{nearest(word, [flag for flag in known if flag[:2] == '--'])}"


def _name(parameter: Any) -> str:
    return str(
        parameter.metavar or parameter.name.upper() if parameter.param_type_name == "argument" else parameter.opts[0]
    )
