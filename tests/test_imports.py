"""What running a bundle imports, and what the help of a command imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "onnx", "matplotlib", "faster_whisper", "espeakng_loader"}


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_imports_nothing_that_computes():
    script = "import sys; sys.argv = ['taemi-edge', '--help']\nfrom taemi_edge.cli.main import app\n"
    script += "app(standalone_mode=False)"
    assert not modules_after(script) & {*HEAVY, "numpy", "cv2", "av", "onnxruntime", "msgspec"}


def test_a_whole_run_needs_no_torch(tiny_folder, demo_video, demo_vtt, tmp_path):
    script = (
        "from pathlib import Path\nfrom taemi_edge.bundle.folder import open_bundle\n"
        "from taemi_edge.runtime.files import RunOptions, run_file\n"
        "from taemi_edge.runtime.json_lines import JsonLines\n"
        f"with JsonLines(Path({str(tmp_path / 'o.jsonl')!r})) as lines:\n"
        f"    run_file(open_bundle(Path({str(tiny_folder)!r})), Path({str(demo_video)!r}), "
        f"RunOptions(transcript=Path({str(demo_vtt)!r})), lines)"
    )
    assert not modules_after(script) & HEAVY
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 33


ENGINES = ["calibrate", "build-engine", "bench"]
FLEET = ["keygen", "sign", "verify", "push", "pull", "update", "export-triton", "triton-probe"]
TRAINING = ["synth", "extract", "train", "evaluate", "ablate", "sweep"]


@pytest.mark.parametrize(
    "command",
    ["", "export", "init", "parity", "run", "replay", "inspect", "doctor", "demo", *ENGINES, *TRAINING, *FLEET],
)
def test_every_command_has_help(cli, command: str):
    done = cli(*[command] if command else [], "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert not done.stderr
