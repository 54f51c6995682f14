"""Completion of typed words: what may stand at a place, and how a shell comes to ask for it.

The shell runs `taemi-edge` for each press of the tab key, so these functions read names of files and nothing more. What
they cannot find is left out: a half-typed line is no place for messages.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from taemi_edge.bundle.precisions import FURTHER
from taemi_edge.errors import UsageError, expected_one_of

#: The variable in which a shell says that it wants words (Typer's convention).
VARIABLE = "_TAEMI_EDGE_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "taemi-edge"
#: Where bundles lie in a working directory, as `taemi_edge.bundle.named` looks them up.
_FOLDERS = ("engines", "calibration", "export")
_MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).parents[1]
#: A manifest that is larger is not read for a press of a key.
_MOST_BYTES = 4_000_000
#: So many words of a line are looked at.
_MOST_WORDS = 40
#: Where each shell looks for completions of a user's own, and what must stand in its start file for that.
_PLACES = {
    "bash": (
        "{data}/bash-completion/completions/taemi-edge",
        "bash-completion finds it by itself; without that package add this line to ~/.bashrc: source {file}",
    ),
    "zsh": (
        "{home}/.zfunc/_taemi-edge",
        "add this line to ~/.zshrc where it is not there: fpath+=~/.zfunc; autoload -Uz compinit; compinit",
    ),
    "fish": ("{config}/fish/completions/taemi-edge.fish", "fish finds it by itself"),
}
#: Fixed sets whose own modules are slow to import; tests hold them to the originals.
RIVALS = ("onnxruntime-cpu", "onnxruntime-cuda", "openvino", "openvino-int8", "torch-eager", "torch-compile", "none")
METRICS = ("pearson", "ccc", "mae", "accuracy", "macro_f1", "average_precision")
LOGS = ("tensorboard", "mlflow", "none")


def bundles(incomplete: str) -> list[str]:
    """Bundles by name and by folder: those in the working directory, and those that ship."""
    found = list(_bundles_below("."))
    if "/" in incomplete:
        found += _bundles_below(incomplete.rpartition("/")[0])
    names = [Path(place).name for place in found if "/" in place]
    names += [place.name for place in _folders(_PACKAGE / "assets" / "bundles") if (place / _MANIFEST).is_file()]
    return _beginning([*names, *found], incomplete)


def models(incomplete: str) -> list[str]:
    """What can be exported or judged: recipes, and bundles."""
    return _beginning([*_recipes("export"), *bundles(incomplete)], incomplete)


#: What completes the value of an option, by its flag, and of an argument, by how the help calls it.
COMPLETERS: Mapping[str, Callable[[str], list[str]]] = {
    **dict.fromkeys(("BUNDLE", "[BUNDLE]", "BUNDLE|RECORDING"), bundles),
    **dict.fromkeys(("A", "[B]", "MODEL", "CHECKPOINT|BUNDLE"), models),
    **dict.fromkeys(("RECIPE", "[RECIPE]"), lambda incomplete: _beginning(_recipes("export"), incomplete)),
    "--recipe": lambda incomplete: _beginning(_recipes("calibration"), incomplete),
    "--target": lambda incomplete: _beginning(_recipes("engines"), incomplete),
    "--also": lambda incomplete: _beginning(FURTHER, incomplete),
    "--against": lambda incomplete: _beginning(RIVALS, incomplete),
    "--metric": lambda incomplete: _beginning(METRICS, incomplete),
    "--log": lambda incomplete: _beginning(LOGS, incomplete),
    "--ray": lambda incomplete: _beginning(("auto", "local"), incomplete),
    "--drop": lambda incomplete: _beginning((f"{name}@" for name in _streams()), incomplete),
    "--stream": lambda incomplete: _beginning((f"{name}=" for name in _streams()), incomplete),
    "--map": lambda incomplete: _beginning((f"{name}=" for name in _streams()), incomplete),
}


def complete(parameter: Any) -> None:
    """Let a parameter of Typer complete its values, where they are known."""
    key = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
    if key in COMPLETERS:
        parameter.shell_complete = partial(_completed, COMPLETERS[key])


def _completed(complete_it: Callable[[str], list[str]], _ctx: Any, incomplete: str) -> list[Any]:
    return [SimpleNamespace(value=word, type="plain", help=None) for word in complete_it(incomplete)]


def prepare() -> None:
    """Make Typer able to answer a shell, where one asks."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer does not export it

        completion_init()


def script(shell: str) -> str:
    """The completion of a shell, as a script that it sources.

    Raises:
        UsageError: there is none for that shell.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # Typer does not export it

    if shell not in SHELLS:
        raise UsageError(f"--shell {expected_one_of(SHELLS, shell)}")
    made: str = get_completion_script(prog_name=_PROGRAM, complete_var=VARIABLE, shell=shell)
    return f"{made}\n"


def install(shell: str) -> str:
    """Write the completion of a shell into its folder for the user's own; no start file of the shell is touched.

    Returns:
        What was written, and what the user has to do.

    Raises:
        UsageError: there is none for that shell.
        OutputError: it cannot be written.
    """
    from taemi_edge.bundle.atomic import new_file

    text = script(shell)
    place, then = _PLACES[shell]
    home = Path.home()
    where = {
        "home": str(home),
        "data": os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share"),
        "config": os.environ.get("XDG_CONFIG_HOME") or str(home / ".config"),
    }
    file = Path(place.format(**where))
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file) as draft:
        draft.write_text(text, encoding="utf-8")
    return f"wrote {file}, and nothing else: {then.format(file=file)}; it holds in new terminals"


def shell_in_use() -> str:
    """The shell that runs this command.

    Raises:
        UsageError: it is not known, or there is no completion for it.
    """
    import shellingham  # type: ignore[import-untyped]

    try:
        name = str(shellingham.detect_shell()[0])
    except (shellingham.ShellDetectionFailure, OSError):
        name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(f"expected to run in {', '.join(SHELLS)}, found {name or 'no shell'}: name one with --shell")
    return name


def _beginning(found: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(found) if word.startswith(incomplete)]


def _recipes(kind: str) -> list[str]:
    """The names of recipes, as `taemi_edge.bundle.recipe` lists them."""
    places = (_PACKAGE / "recipes" / kind, _PACKAGE.parent / kind)
    return sorted({file.stem for place in places if place.is_dir() for file in place.glob("*.toml")})


def _bundles_below(folder: str) -> Iterator[str]:
    """The bundles in a folder, and in those of its folders that hold bundles, as a user writes them."""
    inside = [Path(folder, name) for name in _FOLDERS] if folder == "." else []
    for place in (Path(folder), *inside):
        yield from (str(found) for found in _folders(place) if (found / _MANIFEST).is_file())


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(place) if entry.is_dir() and entry.name[0] != ".")
    except OSError:  # it is not there, or may not be read
        return []


def _streams() -> Sequence[str]:
    """The names of the streams of the bundle that stands on the line; none where no word is one."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    for word in line.split()[2:_MOST_WORDS]:
        places = [Path(word), *(Path(folder, word) for folder in _FOLDERS), _PACKAGE / "assets" / "bundles" / word]
        for file in (place / _MANIFEST for place in places if word[0] != "-"):
            try:
                if file.stat().st_size > _MOST_BYTES:
                    continue
                streams = json.loads(file.read_bytes())["streams"]
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue
            return [name for name in streams if re.fullmatch(r"\w+", name)] if isinstance(streams, dict) else []
    return ()
