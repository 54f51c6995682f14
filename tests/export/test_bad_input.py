"""Bad declarations on the command line: each is refused in one sentence with exit code 2, and nothing is written.

Every case changes one thing of a model that exports as it is, declared in Python or in a TOML file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

import onnx
from onnx import TensorProto, helper

from taemi_edge.cli.main import main

MODEL = """
import numpy as np
import taemi_edge as te
import torch
from torch import nn

print("the user's own words")

class Imu(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, values):
        return self.layer(values)

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(7, 2)

    def forward(self, imu, imu_mask, pulse, pulse_mask):
        return self.layer(torch.cat([mean(imu, imu_mask), mean(pulse, pulse_mask)], 1))

def mean(features, mask):
    weights = mask.to(features.dtype).unsqueeze(-1)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)

def samples():
    rng = np.random.default_rng(0)
    return [{"imu/values": rng.normal(size=(100, 6)), "pulse/values": rng.normal(size=(4, 1)), "label/state": i % 2}
            for i in range(3)]

def build():
    torch.manual_seed(0)
    return te.Model(
        streams={
            "imu": te.Stream(te.Series(6, 50.0, chunk_s=0.5, context_s=0.5), Imu(), missing=torch.zeros(4)),
            "pulse": te.Stream(te.Series(1), nn.Linear(1, 3), required=True),
        },
        head=Head(), outputs={"state": te.Classes(["still", "moving"])}, samples=samples, window_s=2.0, hop_s=0.5)
"""

TOML = """
samples = "samples"
window = { length_s = 2.0, hop_s = 0.5 }

[streams.imu]
kind = "series"
channels = 6
rate_hz = 50.0
chunk_s = 0.5
context_s = 0.5
encoder = "imu.onnx"

[streams.pulse]
kind = "series"
channels = 1
required = true
encoder = "pulse.onnx"

[head]
file = "fusion.onnx"

[outputs.state]
kind = "classes"
names = ["still", "moving"]
"""

FORWARD = "        return self.layer(values)"
PULSE = '"pulse": te.Stream(te.Series(1), nn.Linear(1, 3), required=True)'
SAMPLE = '"imu/values": rng.normal(size=(100, 6))'

#: What is replaced in MODEL by what, and what the sentence must say.
DECLARED = {
    "a stream that the head does not take": ("imu_mask, pulse, pulse_mask):", "imu_mask):", "take the stream 'pulse'"),
    "a head that takes more": ("imu_mask, pulse,", "imu_mask, radar, pulse,", "'radar', which is no stream"),
    "a mask for one of two": ("pulse, pulse_mask):", "pulse):", "a mask for every stream or for none"),
    "a rank that changes with the length": (
        FORWARD,
        "        return self.layer(values) if values.shape[1] < 30 else self.layer(values).mean(1)",
        "expected one rank and width at all lengths",
    ),
    "a width that changes with the length": (
        FORWARD,
        "        return values.repeat(1, 1, values.shape[1] // 25)",
        "expected one rank and width at all lengths",
    ),
    "an encoder that fails": ("nn.Linear(6, 4)", "nn.Linear(5, 4)", "imu: the encoder fails on values float32"),
    "an encoder that gives NaN": (FORWARD, FORWARD + " / 0 * 0", "NaN or infinity"),
    "an encoder that leaves": (FORWARD, "        raise SystemExit('enough')", "SystemExit: enough"),
    "a head that leaves": ("return self.layer(torch.cat", "raise SystemExit(3); (torch.cat", "SystemExit: 3"),
    "names that do not match the head": ('"still", "moving"', '"still"', "at least two classes"),
    "more names than the head gives": ('"moving"]', '"moving", "falling"]', r"state as float32 \(batch, 3\)"),
    "a label of no class": ("i % 2", "i + 2", "fit the 2 names of state, got 2"),
    "a label between two classes": ("i % 2", "0.5", "fit the 2 names of state, got 0.5"),
    "a label of no output": ("label/state", "label/mood", "got 'label/mood'"),
    "streams that are a list": ("streams={", "streams=[('imu', 1), ('imu', 2)] or {", "at least one stream by name"),
    "two streams that differ in case": (PULSE, PULSE.replace("pulse", "IMU", 1), "more than upper and lower case"),
    "a name that is no identifier": (PULSE, PULSE.replace("pulse", "heart rate"), "Python identifier"),
    "a name that is a keyword": (PULSE, PULSE.replace("pulse", "class"), "Python identifier, got 'class'"),
    "a name that labels use": (PULSE, PULSE.replace("pulse", "label"), "a name other than .*, got 'label'"),
    "a name that the head has": (PULSE, PULSE.replace("pulse", "fusion"), "a name other than .*, got 'fusion'"),
    "a name that is a mask": (PULSE, PULSE.replace("pulse", "imu_mask"), "does not end in _mask, got 'imu_mask'"),
    "a name of a thousand letters": (PULSE, PULSE.replace("pulse", "a" * 1000), "up to 64 characters, got 1000"),
    "an output with the name of a stream": ('{"state"', '{"imu"', "'imu', which is a stream"),
    "an output that predictions have": ('{"state"', '{"window_s"', "'window_s', which predictions use"),
    "a token of another width": ("torch.zeros(4)", "torch.zeros(5)", "as wide as the encoder's features, 4, got 5"),
    "a token of NaN": ("torch.zeros(4)", "torch.zeros(4) / 0", "finite numbers"),
    "no sample of a required stream": (', "pulse/values": rng.normal(size=(4, 1))', "", "'pulse', which is required"),
    "no samples": ("samples=samples,", "samples=[],", "at least one sample"),
    "samples that raise": ("samples=samples,", "samples=lambda: [1 / 0],", r"ZeroDivisionError.*\(mine.py, line 41\)"),
    "samples that are no list": ("samples=samples,", "samples=3,", "reading them raised TypeError"),
    "a sample of another rate": (
        SAMPLE,
        SAMPLE.replace("rng.normal(size=(100, 6))", "te.Samples(rng.normal(size=(200, 6)), 100.0)"),
        "expected the stream's rate, 50 Hz, got 100 Hz",
    ),
    "a sample that goes backwards in time": (
        SAMPLE,
        SAMPLE.replace("rng.normal(size=(100, 6))", "te.Samples(rng.normal(size=(2, 6)), times_s=[1, 0])"),
        "a time in seconds for each of 2 rows, in order",
    ),
    "a sample of another width": (SAMPLE, SAMPLE.replace("(100, 6)", "(100, 5)"), r"imu/values.*6"),
    "a sample shorter than a chunk": (SAMPLE, SAMPLE.replace("(100, 6)", "(20, 6)"), "imu/values.*25"),
    "a sample with NaN": (SAMPLE, SAMPLE + " * np.nan", "imu/values.*NaN"),
    "a metric of no name": ("hop_s=0.5)", "hop_s=0.5, metric='beauty')", "beauty"),
    "a window shorter than a hop": ("hop_s=0.5)", "hop_s=5.0)", "0 < hop_s <= window_s"),
    "code that raises": ("class Imu", "1 / 0\nclass Imu", r"raised ZeroDivisionError.*\(mine.py, line 9\)"),
    "code that leaves": ("class Imu", "import sys; sys.exit()\nclass Imu", r"raised SystemExit \(mine.py, line 9\)"),
    "code that is no Python": ("def build():", "def build(:", r"raised SyntaxError.*\(mine.py, line"),
    "code with a null byte": ("def build():", "\0def build():", "raised (SyntaxError|ValueError)"),
    "a package that is missing": ("import torch\n", "import torch, not_there\n", "No module named 'not_there'"),
    "a function that is missing": ("def build(", "def make(", "expected a function 'build' in .*found .*make"),
    "a function that is a number": ("def build(", "build = 3\ndef make(", "expected a function 'build'"),
    "a function that wants arguments": ("def build()", "def build(rate, *, seed=1)", "arguments, build wants rate"),
    "a function that gives nothing": ("    return te.Model(", "    te.Model(", "a taemi_edge.Model, got nothing"),
    "a function that gives a pair": ("hop_s=0.5)", "hop_s=0.5), 3", "return a taemi_edge.Model, got a tuple"),
    "a function that raises an own error": (
        "    torch.manual_seed(0)",
        "    raise type('Mine', (BaseException,), {})('several\\nlines')",
        r"build\(\) raised Mine: several \(mine.py, line",
    ),
}  # fmt: skip

#: What is replaced in TOML by what, and what the sentence must say.
NAMED = {
    "two streams of one name": ("[streams.pulse]", "[streams.imu]", "expected TOML"),
    "a stream that the head does not take": ("[head]", (
        '[streams.radar]\nkind = "series"\nchannels = 1\nencoder = "pulse.onnx"\n\n[head]'
    ), "take the stream 'radar'"),
    "a head that takes more": (TOML[TOML.index("[streams.pulse]") : TOML.index("[head]")], "", "which is no stream"),
    "a head that gives another width": ('"moving"]', '"moving", "falling"]', r"state as float32 \(batch, 3\)"),
    "two outputs, one in the graph": (
        "[outputs.state]", '[outputs.mood]\nkind = "regression"\nnames = ["v"]\n\n[outputs.state]', "an output 'mood'"
    ),
    "a file that is not there": ('"imu.onnx"', '"radar.onnx"', "radar.onnx: expected an ONNX file, found nothing"),
    "a file that is no ONNX": ('"imu.onnx"', '"model.toml"', "model.toml"),
    "an opset that is too old": ('"pulse.onnx"', '"old.onnx"', "expected opset 17 or later, got 9"),
    "an input that has another name": ('"pulse.onnx"', '"other.onnx"', "inputs values, the graph has beats"),
    "a kind that there is not": ('kind = "series"', 'kind = "radar"', "one of video, audio, text, series"),
    "a key that there is not": ("channels = 1", "chanels = 1", "chanels"),
    "a value of another type": ("channels = 1", 'channels = "one"', "channels"),
    "a token of another width": ("required = true", "missing = [0.0, 1.0]", "as wide as the encoder's features, 3"),
    "samples that are not there": ('"samples"', '"nowhere"', "nowhere"),
    "samples that are damaged": ('"samples"', '"damaged"', "damaged"),
    "a name that is no identifier": ("[streams.pulse]", '[streams."heart rate"]', "Python identifier"),
    "a value of a list of pictures": ('kind = "series"\nchannels = 1', (
        'kind = "video"\nframes_per_second = 5\nsize_hw = 64'
    ), r"pulse: expected size_hw as \(height, width\)"),
    "a number of steps in words": ("required = true", 'max_steps = "many"', "pulse: expected max_steps as a whole"),
    "inputs that are no table": ("required = true", 'inputs = "beats"', "pulse: .*expected inputs as names"),
    "a key of an output that there is not": ('names = ["still"', 'gvies = "logits"\nnames = ["still"', "`gives`"),
    "a presence that cannot be": (
        "required = true", "presence = {stale_after_s = 2.0, missing_after_s = 1.0, recover_after_s = 0.0}",
        "pulse.presence: expected 0 < stale_after_s <= missing_after_s"
    ),
    "a name that leads elsewhere": ("window =", 'name = "../elsewhere"\nwindow =', "file name, without a folder"),
    "no streams": (TOML[TOML.index("[streams.imu]") : TOML.index("[head]")], "[streams]\n", "at least one stream"),
}  # fmt: skip

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run `taemi-edge export`: it ends with exit code 2, one sentence, and nothing written. Gives the sentence."""

    def run(argument: str, code: int = 2) -> str:
        output = tmp_path / "made"
        output.mkdir()
        monkeypatch.setattr(sys, "argv", ["taemi-edge", "export", argument, "--output", str(output / "bundle")])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        assert list(output.iterdir()) == [], "something was left behind"
        *stages, sentence = said.err.splitlines()
        assert sentence.startswith("taemi-edge: ")
        assert not [line for line in stages if line.startswith((" ", "Traceback", "taemi-edge:"))], said.err
        return sentence

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX files of the model as it is, exported by the command line, with samples beside them."""
    folder = tmp_path_factory.mktemp("bad-input")
    (folder / "mine.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["taemi-edge", "export", f"{folder / 'mine.py'}:build", "-o", str(folder / "good")])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    good = folder / "good"
    (good / "samples").mkdir()
    np.savez(good / "samples" / "0.npz", **{"imu/values": np.ones((100, 6)), "pulse/values": np.ones((4, 1))})
    (good / "damaged").mkdir()
    (good / "damaged" / "0.npz").write_bytes(b"PK\3\4 no archive")
    onnx.save(_old_graph(), good / "old.onnx")
    other = onnx.load(good / "pulse.onnx")
    other.graph.input[0].name = other.graph.node[0].input[0] = "beats"
    onnx.save(other, good / "other.onnx")
    return good


def _old_graph() -> onnx.ModelProto:
    """A graph of opset 9 with an operator that onnx converts to no later one."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1, 3], [1.0, 2.0, 3.0])
    nodes = [
        helper.make_node("MatMul", ["values", "weights"], ["product"]),
        helper.make_node("ThresholdedRelu", ["product"], ["features"]),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", w]) for n, w in (("values", 1), ("features", 3))
    ]
    graph = helper.make_graph(nodes, "old", ends[:1], ends[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


@pytest.mark.parametrize("case", DECLARED)
def test_a_bad_declaration_in_python_is_one_sentence(tmp_path: Path, refused: Refused, case: str):
    old, new, words = DECLARED[case]
    assert old in MODEL
    (tmp_path / "mine.py").write_text(MODEL.replace(old, new, 1))
    _says(words, refused(f"{tmp_path / 'mine.py'}:build"))


@pytest.mark.parametrize("case", NAMED)
def test_a_bad_declaration_in_a_toml_file_is_one_sentence(files: Path, refused: Refused, case: str):
    old, new, words = NAMED[case]
    assert old in TOML
    (files / "model.toml").write_text(TOML.replace(old, new, 1))
    _says(words, refused(str(files / "model.toml")))


@pytest.mark.parametrize("argument", ["none.py:build", "no.such.module:build", "none.toml", "mine.py:", ":build"])
def test_what_is_not_there_is_one_sentence(refused: Refused, argument: str):
    _says(argument.partition(":")[0] or "build", refused(argument))


def test_ctrl_c_in_code_of_the_users_ends_the_command(tmp_path: Path, refused: Refused):
    (tmp_path / "mine.py").write_text(MODEL.replace("class Imu", "raise KeyboardInterrupt\nclass Imu", 1))
    _says("interrupted", refused(f"{tmp_path / 'mine.py'}:build", code=130))


def _says(words: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=words):
        raise ValueError(sentence)
