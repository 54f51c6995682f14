"""A part that is no pure function of its input is refused, in words that name what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

import taemi_edge as te
from taemi_edge.errors import ContractError
from taemi_edge.export.export_model import export_model
from tests.export.test_stand_ins import Mean


class Dropping(nn.Linear):
    """Its dropout stays on in evaluation mode."""

    def forward(self, values: Tensor) -> Tensor:
        return functional.dropout(super().forward(values), 0.5)


class Remembering(nn.Linear):
    """It keeps a mean from call to call."""

    past = 0.0

    def forward(self, values: Tensor) -> Tensor:
        self.past = self.past * 0.5 + values.mean()
        return super().forward(values) + self.past


class Normalising(nn.Module):
    """Its BatchNorm stays in training mode."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(*sizes), nn.BatchNorm1d(5)

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(True)

    def forward(self, values: Tensor) -> Tensor:
        return self.norm(self.layer(values).transpose(1, 2)).transpose(1, 2)


class Transposed(nn.Module):
    """A recurrence that takes the batch for time."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(*sizes)

    def forward(self, values: Tensor) -> Tensor:
        return self.lstm(values)[0]


class Logarithm(nn.Linear):
    """Made-up values are negative, and its logarithm no number; the samples are positive."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.log())


def declared(encoder: nn.Module) -> te.Model:
    rng = np.random.default_rng(0)
    series = te.Series(6, rate_hz=10.0, chunk_s=0.5)
    return te.Model(
        streams={"imu": te.Stream(series, encoder)},
        head=Mean(),
        outputs={"state": te.Classes(["a", "b", "c"])},
        samples=[{"imu/values": rng.uniform(0.5, 2.0, size=(10, 6))} for _ in range(3)],
        window_s=1.0,
        hop_s=0.5,
    )


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (Dropping, "imu: expected the same outputs for the same inputs.*switch off dropout"),
        (Remembering, "imu: expected the same outputs for the same inputs.*keep nothing from call to call"),
        (Normalising, "imu: expected a row of a batch to give what it gives alone.*BatchNorm"),
        (Transposed, "imu: expected a row of a batch to give what it gives alone.*batch_first=True"),
    ],
)
def test_an_impure_encoder_is_refused(tmp_path: Path, encoder: type[nn.Module], words: str):
    torch.manual_seed(0)
    with pytest.raises(ContractError, match=words) as refused:
        export_model(declared(encoder(6, 5)), tmp_path / "x")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_encoder_is_traced_and_tested_with_real_samples(tmp_path: Path):
    assert export_model(declared(Logarithm(6, 5)), tmp_path / "x")[1].ok


class Strict(nn.Module):
    """It takes no ids but those of its samples' words: made-up ones would reach other rows of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        assert set(ids.unique().tolist()) <= {0, 7, 8, 9}
        return self.words(ids) * mask[..., None]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({"no": 7, "go": 8, "stop": 9, "?": 10}, "?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def test_a_text_encoder_is_traced_with_the_ids_of_its_samples(tmp_path: Path):
    model = declared(nn.Identity())
    said = te.Stream(te.Text(tokenizer(), max_tokens=8), Strict())
    samples = [{"imu/words": words} for words in ("no go", "stop", "go no stop no")]
    assert export_model(replace(model, streams={"imu": said}, samples=samples), tmp_path / "x")[1].ok


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Linear(6, 5).double(), "its weights are float64 on cpu: call .float"),
        (nn.Linear(6, 5).bfloat16(), "its weights are bfloat16 on cpu"),
        (nn.Linear(6, 5, device="meta"), "on the meta device: load them"),
    ],
)
def test_weights_that_are_not_float32_on_the_processor_are_named(tmp_path: Path, module: nn.Module, words: str):
    with pytest.raises(ContractError, match=f"imu: the encoder fails on values.*{words}"):
        export_model(declared(module), tmp_path / "x")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile imports what warns
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrappers_are_taken_off(tmp_path: Path, wrap):
    bundle, _ = export_model(replace(declared(wrap(nn.Linear(6, 5))), head=wrap(Mean())), tmp_path / "x")
    assert {part.exporter for part in bundle.manifest.parts.values()} == {"torchscript"}


class FromTheEnd(nn.Module):
    """A recurrence from the end meets the padding first; it hides the steps of padding, and not what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.gru = nn.Embedding(1000, 5), nn.GRU(5, 5, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.gru(self.words(ids))[0][..., 5:] * mask[..., None]


def test_a_text_encoder_that_reads_padding_is_refused(tmp_path: Path):
    said = te.Stream(te.Text(tokenizer(), max_tokens=8), FromTheEnd())
    model = replace(declared(nn.Identity()), streams={"imu": said}, samples=[{"imu/words": "go no stop no"}])
    with pytest.raises(ContractError, match="imu: expected a text to give the same features with padding behind it"):
        export_model(model, tmp_path / "x")


class KeywordOnly(Mean):
    """Its option is a keyword: the TorchScript exporter would pass it by position."""

    def forward(self, imu: Tensor, imu_mask: Tensor, *, scale: float = 2.0) -> Tensor:
        return super().forward(imu, imu_mask) * scale


def test_a_keyword_only_option_keeps_its_default(tmp_path: Path):
    bundle, report = export_model(replace(declared(nn.Linear(6, 5)), head=KeywordOnly()), tmp_path / "x")
    assert report.ok
    assert bundle.manifest.parts["fusion"].exporter == "torchscript"
