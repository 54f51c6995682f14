"""Completion as a real bash asks for it, and the files that its installation writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taemi_edge.bundle.recipe import list_recipes
from taemi_edge.cli import completion
from tests.test_imports import HEAVY, modules_after

pytestmark = pytest.mark.once
#: Asks bash for completions of a line, as the tab key does, and prints them.
BASH = """
eval "$(taemi-edge --show-completion --shell bash)"
while IFS= read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ "$line" == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
  _taemi_edge_completion taemi-edge
  (IFS=" "; echo "${COMPREPLY[*]}")
done
"""
LINES = {
    "taemi-edge expor": "export export-triton",
    "taemi-edge build-engine x --target jetson-o": "jetson-orin-nano",
    "taemi-edge build-engine x --precision ": "auto fp32 fp16 bf16 int8 fp8",
    "taemi-edge run ti": "tiny",
    "taemi-edge inspect export/": "export/tiny",
    "taemi-edge run tiny a.mp4 --drop v": "vision@",
    "taemi-edge run export/tiny a.mp4 --stream t": "text=",
    "taemi-edge bench x --against openvino-": "openvino-int8",
}


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """A PATH on which `taemi-edge` is, and a home of its own."""
    file = tmp_path / "bin" / "taemi-edge"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -m taemi_edge "$@"\n')
    file.chmod(0o755)
    root = str(Path(completion.__file__).parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return kept | {"PATH": f"{file.parent}:{os.environ['PATH']}", "HOME": str(tmp_path / "home"), "PYTHONPATH": root}


def test_bash_completes_what_is_known(program, tmp_path: Path, tiny_folder: Path):
    here = tmp_path / "here"
    (here / "export").mkdir(parents=True)
    (here / "export" / "tiny").symlink_to(tiny_folder)
    done = subprocess.run(
        ["bash", "-c", BASH],  # noqa: S607
        input="\n".join(LINES) + "\n",
        capture_output=True,
        text=True,
        cwd=here,
        env=program,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert dict(zip(LINES, done.stdout.splitlines(), strict=True)) == LINES


def test_an_interactive_bash_takes_it_from_its_folder(program, tmp_path: Path):
    """`bash -i` loads what --install-completion wrote, by the line that it says to add."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text("# mine\n")
    done = subprocess.run(
        ["taemi-edge", "--install-completion", "--shell", "bash"],  # noqa: S607
        capture_output=True,
        text=True,
        env=program,
        check=True,
    )
    file = home / ".local/share/bash-completion/completions/taemi-edge"
    assert done.stdout.startswith(f"wrote {file}, and nothing else")
    assert [found for found in home.rglob("*") if found.is_file()] == [home / ".bashrc", file]
    assert (home / ".bashrc").read_text() == "# mine\n"
    (home / ".bashrc").write_text(f"source {file}\n")
    asked = subprocess.run(
        ["bash", "-ic", "complete -p taemi-edge"],  # noqa: S607
        capture_output=True,
        text=True,
        env=program,
        check=False,
    )
    assert asked.stdout.strip() == "complete -o default -F _taemi_edge_completion taemi-edge"


@pytest.mark.parametrize(("shell", "file"), [("zsh", ".zfunc/_taemi-edge"), ("fish", ".config/fish/completions")])
def test_other_shells(cli_here, tmp_path: Path, monkeypatch, shell: str, file: str):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert completion.VARIABLE in cli_here("--show-completion", "--shell", shell).stdout
    assert not list(tmp_path.iterdir())
    done = cli_here("--install-completion", "--shell", shell)
    assert done.returncode == 0
    assert f"wrote {tmp_path / file}" in done.stdout
    assert "did you mean 'fish'?" in cli_here("--show-completion", "--shell", "fihs").stderr


def test_a_shell_that_is_not_known(cli_here, monkeypatch):
    import shellingham

    def nothing(*_: object) -> tuple[str, str]:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", nothing)
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = cli_here("--install-completion")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "found tcsh: name one with --shell" in done.stderr


def test_fixed_sets_are_those_of_the_commands():
    from taemi_edge.parity.metrics import METRICS

    assert set(completion.METRICS) == set(METRICS)
    assert completion.COMPLETERS["RECIPE"]("") == list_recipes("export")
    assert completion.COMPLETERS["--target"]("") == list_recipes("engines")
    assert completion.COMPLETERS["--recipe"]("") == list_recipes("calibration")
    pytest.importorskip("torch", reason="the workshop's modules")
    from taemi_edge.bench.options import RIVALS
    from taemi_edge.taemi.sweep.logs import _KNOWN

    assert (*RIVALS, "none") == completion.RIVALS
    assert completion.LOGS == _KNOWN


def test_a_press_of_the_key_imports_nothing_that_computes():
    script = (
        "import os, sys; sys.argv = ['taemi-edge']\n"
        "os.environ |= {'_TAEMI_EDGE_COMPLETE': 'complete_bash', 'COMP_WORDS': 'taemi-edge run ', 'COMP_CWORD': '2'}\n"
        "from taemi_edge.cli.main import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass"
    )
    assert not modules_after(script) & {*HEAVY, "numpy", "cv2", "av", "onnxruntime", "msgspec", "rich"}
