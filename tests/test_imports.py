"""What a device imports: no torch, no transformers, no onnx; and a command line whose help needs none of the rest."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

HEAVY = {"torch", "transformers", "onnx", "matplotlib", "faster_whisper", "espeakng_loader"}
ROOMS = [
    "artefact",
    "build",
    "corpus",
    "doctor",
    "engine_cache",
    "tensorrt_compiler",
    "errors",
    "evaluate",
    "extract",
    "metrics",
    "pickles",
    "spec",
    "store",
    "synthetic_corpus",
    "synthetic_labels",
    "tables",
    "workers",
    "bundle",
    "recipe",
    "folders",
    "golden",
    "parity",
    "describe",
    "annotate",
    "run",
    "demo",
    "plots",
    "cli",
    "cli_run",
    "cli_shared",
    "live",
    *(
        f"live.{name}"
        for name in (
            "addresses",
            "av_reader",
            "backoff",
            "capture",
            "clock",
            "config",
            "events",
            "gst_reader",
            "health",
            "loop",
            "mailbox",
            "metrics",
            "mqtt",
            "notify",
            "outputs",
            "push",
            "readers",
            "recognise",
            "record",
            "run",
            "server",
            "settings",
            "signals",
            "source",
            "words",
        )
    ),
    "runtime",
    *(
        f"runtime.{name}"
        for name in (
            "asr",
            "cuda_graphs",
            "drops",
            "executor",
            "gather",
            "hops",
            "ort",
            "pipeline",
            "preprocess",
            "presence",
            "quiet",
            "rings",
            "session",
            "sources",
            "staging",
            "transcript",
            "trt",
            "trt_executor",
            "trt_library",
            "window",
        )
    ),
    *(
        f"bench.{name}"
        for name in (
            "ceilings",
            "compare",
            "contender",
            "feeds",
            "ort_way",
            "power",
            "report",
            "runtime_way",
            "show",
            "ways",
            "worker",
        )
    ),
]


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(find_spec("torch") is None, reason="nothing heavy is installed here that could be imported")
@pytest.mark.parametrize("room", ROOMS)
def test_a_device_room_imports_without_the_heavy_libraries(room: str):
    assert not modules_after(f"import taemi_edge.{room}") & HEAVY


def test_help_imports_nothing_that_computes():
    script = (
        "import sys; sys.argv = ['taemi-edge', '--help']\nfrom taemi_edge.cli import app\napp(standalone_mode=False)"
    )
    assert not modules_after(script) & {*HEAVY, "numpy", "cv2", "av", "onnxruntime", "msgspec"}


def test_a_whole_run_needs_no_torch(tiny_folder, demo_video, demo_vtt, tmp_path):
    script = (
        "from pathlib import Path\nfrom taemi_edge.bundle import open_bundle\nfrom taemi_edge.run import *\n"
        f"with JsonLines(Path({str(tmp_path / 'o.jsonl')!r})) as lines:\n"
        f"    run_file(open_bundle(Path({str(tiny_folder)!r})), Path({str(demo_video)!r}), "
        f"RunOptions(transcript=Path({str(demo_vtt)!r})), lines)"
    )
    assert not modules_after(script) & HEAVY
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 33


ENGINES = ["calibrate", "build-engine", "bench"]
TRAINING = ["synth", "extract", "train", "evaluate", "ablate"]


@pytest.mark.parametrize(
    "command", ["", "export", "init", "parity", "run", "inspect", "doctor", "demo", *ENGINES, *TRAINING]
)
def test_every_command_has_help(cli, command: str):
    done = cli(*[command] if command else [], "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert not done.stderr
