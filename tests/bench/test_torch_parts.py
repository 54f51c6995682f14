"""PyTorch as a contender for a model that its user declared."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is the contender")

import taemi_edge as te
from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.rivals import open_contenders
from taemi_edge.bench.torch_model import TorchModel
from taemi_edge.bench.torch_parts import declared_parts
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.errors import UsageError
from taemi_edge.export.user_code import load_model

DECLARATION = """
import numpy as np, torch, taemi_edge as te

class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(7, 5)

    def forward(self, imu, pulse, imu_mask, pulse_mask):
        means = [(x * m[..., None]).sum(1) / m.sum(1, keepdim=True).clamp(min=1)
                 for x, m in ((imu, imu_mask), (pulse, pulse_mask))]
        given = self.mix(torch.cat(means, -1))
        return {"state": given[:, :2], "force": given[:, 2:]}

def build(pulse="pulse"):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rows = lambda n, c: rng.normal(size=(n, c)).astype(np.float32)
    encoder = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(10 * 3, 4))
    return te.Model(
        streams={"imu": te.Stream(te.Series(3, rate_hz=20.0, chunk_s=0.5), encoder, missing="mask"),
                 "pulse": te.Stream(te.Series(1), torch.nn.Linear(1, 3), missing=[0.5, 0.0, 1.0])},
        head=Head(), outputs={"state": te.Classes(["still", "moving"]), "force": te.Regression(["x", "y", "z"])},
        samples=[{"imu/values": rows(40, 3), "pulse/values": rows(4, 1)}], window_s=2.0, hop_s=0.5)
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    folder = tmp_path_factory.mktemp("declared")
    (folder / "bench_declared.py").write_text(DECLARATION)
    argument = f"{folder / 'bench_declared.py'}:build"
    te.export_model(load_model(argument), folder / "bundle", source=argument)
    return open_bundle(folder / "bundle"), argument


def test_eager_modules_give_what_the_bundle_gives(declared: tuple[Bundle, str]):
    bundle, argument = declared
    window = Feeds(bundle).window()
    model = TorchModel(declared_parts(argument, bundle, "fp32"), bundle, "cpu", compiled=False, threads=1)
    with closing(model):
        for pattern in bundle.manifest.patterns:
            for kind in ("hop", "window"):
                run = model.window(kind, window, pattern, 1)
                run.run()
                expected = window.expected[bundle.manifest.pattern_name(pattern)]
                assert np.abs(run.output() - expected).max() < 1e-5, pattern


def test_another_model_is_refused(declared: tuple[Bundle, str], tiny: Bundle):
    with pytest.raises(UsageError, match=r"expected the bundle's streams, \['vision', 'audio', 'text'\], got"):
        declared_parts(declared[1], tiny, "fp32")


def test_code_runs_only_where_it_is_named(declared: tuple[Bundle, str], tmp_path: Path):
    from contextlib import ExitStack

    bundle, argument = declared
    with ExitStack() as stack:
        _, not_run = open_contenders(stack, bundle, BenchOptions(against=("torch-eager",)), tmp_path)
    assert not_run == {"torch-eager fp32": f"it needs the model's code: pass --model {argument} to run it"}
    wrong = BenchOptions(against=("torch-eager",), model="no_such_file.py:build", python=sys.executable)
    with ExitStack() as stack, pytest.raises(UsageError, match=r"no_such_file.py:build: expected a Python file"):
        open_contenders(stack, bundle, wrong, tmp_path)
