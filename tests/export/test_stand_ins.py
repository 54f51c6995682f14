"""What a head does with stand-ins, padding and masks is measured, and decides how long a stand-in is bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

from torch import Tensor, nn

import taemi_edge as te
from taemi_edge.errors import ContractError
from taemi_edge.export.export_model import export_model
from taemi_edge.export.opening import _opened
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Layout, Work
from tests.export.test_export_model import mean

STEPS = 10


class Mean(nn.Module):
    """A mean under the mask: blind to length, order and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        return self.layer(mean(imu, imu_mask))


class Places(Mean):
    """Positions are added to the steps before the mean."""

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        places = torch.arange(imu.shape[1])[None, :, None] / 10
        return self.layer(mean(torch.tanh(imu + places), imu_mask))


class ReadsPadding(Mean):
    """A recurrence from the end: it meets the padding first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 5, batch_first=True)

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        return self.layer(self.gru(imu.flip(1))[0][:, -1] + 0 * imu_mask.sum(1, keepdim=True))


class Softmax(Mean):
    """A pooling whose weights are no numbers where all steps are masked."""

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        weights = imu[..., 0].masked_fill(imu_mask == 0, -torch.inf).softmax(1)
        return self.layer((imu * weights[..., None]).sum(1))


class Advised(Softmax):
    """The same as the refusal says to write it."""

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        mask = torch.where(imu_mask.sum(1, keepdim=True) == 0, 1, imu_mask)
        return super().forward(imu, mask)


class Attends(nn.Module):
    """PyTorch's own attention gives zeros where all keys are masked, and so must the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.layer = nn.MultiheadAttention(5, 1, batch_first=True), nn.Linear(5, 3)

    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        read = self.attention(imu[:, :1], imu, imu, key_padding_mask=imu_mask == 0, need_weights=False)[0]
        return self.layer(read[:, 0])


class Deaf(nn.Module):
    """It takes two streams, and multiplies one by zero."""

    def forward(self, imu: Tensor, heart: Tensor) -> Tensor:
        return imu.mean(1)[:, :3] + 0 * heart.mean(1)[:, :3]


def declared(head: nn.Module, missing: Any, **changes: Any) -> te.Model:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
    series = te.Series(6, rate_hz=STEPS, chunk_s=0.5)
    streams = {"imu": te.Stream(series, encoder, missing=missing, **changes)}
    if isinstance(head, Deaf):
        streams["heart"] = te.Stream(series, encoder)
    samples = [{f"{name}/values": rng.normal(size=(STEPS, 6)) for name in streams} for _ in range(3)]
    outputs = {"state": te.Classes(["a", "b", "c"])}
    return te.Model(streams=streams, head=head, outputs=outputs, samples=samples, window_s=1.0, hop_s=0.5)


@pytest.mark.parametrize(
    ("head", "changes", "steps", "blind"),
    [
        (Mean, {}, 1, True),
        (Places, {}, STEPS, False),
        (Places, {"tile": 1}, 1, False),
        (Mean, {"min_steps": 3}, 3, True),
    ],
)
def test_a_vector_is_repeated_where_the_head_is_not_blind_to_the_length(
    tmp_path: Path, head: type[nn.Module], changes: dict[str, int], steps: int, blind: bool
):
    bundle, report = export_model(declared(head(), [0.5] * 5, **changes), tmp_path / "x")
    missing = bundle.manifest.streams["imu"].missing
    assert report.ok
    assert (missing.steps, bundle.tokens["imu"].shape) == (steps, (steps, 5))
    assert (missing.length_error < 1e-6) == blind
    assert bundle.manifest.head.order_matters != blind


def test_the_model_as_an_artefact_has_the_same_stand_in(tmp_path: Path):
    (tmp_path / "places_model.py").write_text(
        "from tests.export.test_stand_ins import Places, declared\n"
        "def build():\n    return declared(Places(), [0.5] * 5)\n"
    )
    artefact = _opened(f"{tmp_path}/places_model.py:build", is_toml=False)
    assert artefact.tokens["imu"].shape == (STEPS, 5)


@pytest.mark.parametrize(("head", "takes_padding"), [(Mean, True), (ReadsPadding, False)])
def test_windows_of_several_lengths_share_a_call_only_where_padding_is_not_read(
    tmp_path: Path, head: type[nn.Module], takes_padding: bool
):
    bundle, _ = export_model(declared(head(), "zeros"), tmp_path / "x")
    assert bundle.manifest.head.takes_padding == takes_padding
    assert (bundle.manifest.head.padding_error < 1e-6) == takes_padding


@pytest.mark.parametrize("head", [Mean, ReadsPadding])
def test_a_source_gets_the_same_prediction_in_company_as_alone(tmp_path: Path, head: type[nn.Module]):
    bundle, _ = export_model(declared(head(), "zeros"), tmp_path / "x")
    executor = open_executor(bundle, Layout(2, 1.0, 0.5), "cpu", 1)
    try:
        rng = np.random.default_rng(1)
        for ring in executor._rings["imu"]:
            ring[:] = rng.normal(size=ring.shape)
        works = [Work(source, window={"imu": Span(0, steps)}) for source, steps in enumerate((4, 9))]
        for together, work in zip(executor.execute(works), works, strict=True):
            [alone] = executor.execute([work])
            np.testing.assert_allclose(together.outputs["state"], alone.outputs["state"], atol=1e-6)
    finally:
        executor.close()


def test_a_head_without_numbers_where_a_mask_hides_all_is_refused_and_the_advice_works(tmp_path: Path):
    with pytest.raises(
        ContractError, match="NaN or infinity where imu is missing: a softmax whose keys are all masked"
    ):
        export_model(declared(Softmax(), "mask"), tmp_path / "x")
    assert not list(tmp_path.iterdir())
    assert export_model(declared(Softmax(), "zeros"), tmp_path / "zeros")[1].ok
    assert export_model(declared(Advised(), "mask"), tmp_path / "advised")[1].ok
    assert export_model(declared(Attends(), "mask"), tmp_path / "attends")[1].ok


def test_a_stream_that_the_head_does_not_read_is_told(tmp_path: Path):
    bundle, _ = export_model(declared(Deaf(), "zeros"), tmp_path / "x")
    assert bundle.manifest.head.unread == ("heart",)
    assert export_model(declared(Mean(), "zeros"), tmp_path / "y")[0].manifest.head.unread == ()


def test_a_stand_in_is_as_long_as_the_head_needs():
    with pytest.raises(ContractError, match=r"missing of at least min_steps = 3 steps, got 2"):
        declared(Mean(), np.ones((2, 5)), min_steps=3)
