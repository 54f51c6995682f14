"""What an installation without extras does, and what it says where an extra is missing.

tools/test_on_device_pythons.sh runs this in environments that have `packaging/install.sh FOLDER PYTHON base` and pytest
alone, before it adds the extras. Everywhere else it is skipped.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXTRAS = ("cv2", "tokenizers", "torch", "onnx", "mcap", "starlette", "cryptography", "matplotlib", "pyarrow", "sympy")
pytestmark = pytest.mark.skipif(
    any(find_spec(name) is not None for name in EXTRAS), reason="this is no installation without extras"
)

ASSETS = Path(__file__).parent.parent / "taemi_edge" / "assets"
CLIP, WORDS = str(ASSETS / "demo.mp4"), str(ASSETS / "demo.vtt")


@pytest.fixture
def bundle() -> str:
    place = Path(os.environ.get("TAEMI_EDGE_TEST_BUNDLES", "export")) / "taemi-tiny"
    if not place.exists():
        pytest.skip(f"{place} is not there")
    return str(place.resolve())


@pytest.fixture
def taemi_edge(capfd, monkeypatch, tmp_path):
    """Run the command line in this process, in a folder of its own."""
    from taemi_edge.cli.ending import exit_code_of
    from taemi_edge.cli.main import app

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["taemi-edge", *words])
        capfd.readouterr()
        code = exit_code_of(app)
        return code, *capfd.readouterr()

    return run


def test_a_video_becomes_predictions(taemi_edge, bundle, tmp_path):
    code, _, said = taemi_edge("run", bundle, CLIP, "--output", "p.jsonl")
    assert code == 0, said
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(lines) > 10
    assert {line["presence"]["text"] for line in lines} == {"missing"}
    assert "live" in {line["presence"]["vision"] for line in lines}, "faces are found without OpenCV"
    assert "live" in {line["presence"]["audio"] for line in lines}


def test_parity_needs_no_extra(taemi_edge, bundle):
    assert taemi_edge("parity", bundle)[0] == 0


#: What is typed, and the extra that it needs. BUNDLE stands for one; the files are there where they must be.
NEEDS = [
    (["run", "BUNDLE", CLIP, "--annotate", "a.mp4"], "pictures"),
    (["run", "BUNDLE", CLIP, "--transcript", WORDS], "text"),
    (["run", "BUNDLE", CLIP, "--asr"], "asr"),
    (["run", "BUNDLE", CLIP, "--live", "--asr"], "asr"),
    (["run", "BUNDLE", CLIP, "--live", "--transcript", WORDS], "text"),
    (["run", "BUNDLE", CLIP, "--live", "--annotate", "a.mp4"], "pictures"),
    (["run", "BUNDLE", CLIP, "--live", "--push", "rtmp://127.0.0.1:1/x"], "pictures"),
    (["run", "BUNDLE", CLIP, "--live", "--serve", "127.0.0.1:0"], "serve"),
    (["run", "BUNDLE", CLIP, "--live", "--mqtt", "127.0.0.1:1"], "mqtt"),
    (["run", "BUNDLE", CLIP, "--live", "--record", "r.mcap"], "foxglove"),
    (["run", "BUNDLE", "x.mcap"], "recordings"),
    (["run", "BUNDLE", "--live", "serial:///dev/ttyUSB0"], "serial"),
    (["run", "BUNDLE", "--live", "mqtt://127.0.0.1/x"], "mqtt"),
    (["parity", "BUNDLE", "--plot", "p.png"], "plot"),
    (["bench", "BUNDLE", "--plot", "p.png"], "plot"),
    (["evaluate", "BUNDLE", "--data", "s3://bucket/corpus"], "remote"),
    (["extract", "BUNDLE", "--data", "s3://bucket/corpus", "--output", "s"], "remote"),
    (["calibrate", "BUNDLE", "--data", "corpus", "--output", "c"], "export"),
    (["export", "taemi-tiny", "--output", "e"], "export"),
    (["export", "model.py:declare", "--output", "e"], "export"),
    (["train", "taemi-tiny", "--data", "corpus", "--output", "t"], "train"),
    (["sweep", "taemi-tiny", "--data", "corpus", "--output", "t"], "train"),
    (["synth", "corpus", "--clips", "3"], "synth"),
    (["keygen", "key"], "fleet"),
    (["sign", "BUNDLE", "--key", "key"], "fleet"),
    (["push", "BUNDLE", "localhost:1/x"], "fleet"),
    (["pull", "localhost:1/x", "--output", "p"], "fleet"),
]


@pytest.mark.parametrize(
    ("words", "extra"), NEEDS, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_what_is_missing_is_said_in_one_sentence(words, extra, taemi_edge, bundle, tmp_path):
    (tmp_path / "x.mcap").touch()
    (tmp_path / "corpus").mkdir()
    code, _, said = taemi_edge(*(bundle if word == "BUNDLE" else word for word in words))
    last = said.strip().splitlines()[-1]
    assert code == 2, said
    assert "Traceback" not in said
    assert last.startswith("taemi-edge: "), said
    assert last.endswith(f"which is not installed: run `pip install 'taemi-edge[{extra}]'`"), last


#: Rooms that belong to the machine with the checkpoint: PyTorch and ONNX stand at the top of their modules.
MAKERS = ("taemi_edge.export", "taemi_edge.calibration", "taemi_edge.taemi", "taemi_edge.bench")


def test_no_module_of_the_device_half_imports_opencv_or_tokenizers():
    """Others, such as the page, are imported where their extra is known to be there."""
    import taemi_edge

    lacking: dict[str, str] = {}
    for module in pkgutil.walk_packages(taemi_edge.__path__, "taemi_edge."):
        if module.name.startswith(MAKERS) or module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            lacking[module.name] = str(error.name).partition(".")[0]
    assert not {name: package for name, package in lacking.items() if package in ("cv2", "tokenizers")}
