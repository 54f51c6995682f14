"""A declared model becomes a bundle, and what does not fit is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

from torch import Tensor, nn

import taemi_edge as te
from taemi_edge.bundle.card_record import CARD_RECORD, MODEL_CARD
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.shown_card import card_of_bundle, said_of
from taemi_edge.bundle.values import HEAD
from taemi_edge.errors import CheckFailedError, ContractError, ExportError, InputError, OutputError
from taemi_edge.export.export_model import export_model
from taemi_edge.parity.golden import load_cases


class Pooled(nn.Module):
    """A head with masks: means under the masks, then classes and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.imu, self.mic = nn.Linear(4, 8), nn.Linear(5, 8)
        self.state, self.mood = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, imu: Tensor, imu_mask: Tensor, mic: Tensor, mic_mask: Tensor) -> dict[str, Tensor]:
        fused = torch.tanh(mean(self.imu(imu), imu_mask) + mean(self.mic(mic), mic_mask))
        return {"mood": self.mood(fused), "state": self.state(fused)}


class Last(nn.Module):
    """A head without masks that reads the order of the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(9, 3)

    def forward(self, mic: Tensor, imu: Tensor) -> Tensor:
        return self.layer(torch.cat([imu[:, -1], mic[:, -1]], dim=1))


class Microphone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(1, 5, 400, 160)

    def forward(self, samples: Tensor) -> Tensor:
        return self.layer(samples[:, None]).transpose(1, 2)


def mean(features: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(features.dtype).unsqueeze(-1)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)


def samples() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    whole = [
        {"imu/values": rng.normal(size=(4, 6)), "mic/samples": rng.normal(size=32_000) * 0.1, "label/state": i % 3}
        for i in range(4)
    ]
    return [*whole, {"imu/values": rng.normal(size=(2, 6))}]


def declared(**changes: Any) -> te.Model:
    torch.manual_seed(0)
    streams = {
        "imu": te.Stream(te.Series(6), nn.Linear(6, 4), missing=torch.randn(4)),
        "mic": te.Stream(te.Audio(16_000, 0.5, context_s=0.25), Microphone(), missing="mean"),
    }
    given: dict[str, Any] = {
        "streams": streams,
        "head": Pooled(),
        "outputs": {"state": te.Classes(["a", "b", "c"]), "mood": te.Regression(["v", "w"])},
        "samples": samples(),
        "window_s": 2.0,
        "hop_s": 0.5,
    }
    return te.Model(**{**given, **changes})


def test_a_model_becomes_a_bundle_that_agrees_with_it(tmp_path: Path):
    bundle, report = export_model(declared(), tmp_path / "mixed", source="here")
    manifest = bundle.manifest
    assert report.ok
    assert [stage.stage for stage in report.stages] == ["imu", "mic", "fusion", "end-to-end"]
    assert manifest.part_names == ("imu", "mic", "fusion")
    assert (manifest.name, manifest.metric, manifest.provenance.source) == ("mixed", "accuracy", "here")
    assert manifest.head.masks
    assert not manifest.head.order_matters
    assert manifest.streams["mic"].missing.kind == "mean"
    assert manifest.gives_vector("imu")
    assert not manifest.gives_vector("mic")
    assert bundle.tokens["imu"].shape == (1, 4)


class ByKeyword(Pooled):
    """Takes its streams by keyword alone."""

    def forward(self, *, imu: Tensor, imu_mask: Tensor, mic: Tensor, mic_mask: Tensor) -> dict[str, Tensor]:
        return super().forward(imu, imu_mask, mic, mic_mask)


class WithOption(Pooled):
    """Has an argument of its own, with a default, before its last stream."""

    def forward(
        self,
        imu: Tensor,
        imu_mask: Tensor,
        scale: float = 1.0,
        mic: Tensor | None = None,
        mic_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        assert mic is not None
        assert mic_mask is not None
        return super().forward(imu * scale, imu_mask, mic, mic_mask)


@pytest.mark.parametrize("kind", [ByKeyword, WithOption])
def test_a_head_gets_its_streams_under_their_names(tmp_path: Path, kind: type[Pooled]):
    torch.manual_seed(1)
    head = kind()
    bundle, report = export_model(declared(head=head), tmp_path / "named")
    assert report.ok
    assert bundle.manifest.head.unread == ()
    plain = Pooled()
    plain.load_state_dict(head.state_dict())
    case = next(case for case in load_cases(bundle.golden_file) if case.part == HEAD)
    given = {name: torch.from_numpy(value) for name, value in case.feeds.items()}
    want = plain(given["imu"], given["imu_mask"], given["mic"], given["mic_mask"])
    assert case.expected is not None
    np.testing.assert_allclose(case.expected["state"], want["state"].detach().numpy(), atol=1e-6)


def test_the_mean_over_the_samples_stands_for_a_missing_stream(tmp_path: Path):
    encoder = nn.Linear(6, 4)
    imu = te.Stream(te.Series(6), encoder, missing="mean", tile=2)
    bundle, _ = export_model(declared(streams={**declared().streams, "imu": imu}), tmp_path / "mean")
    rows = torch.from_numpy(np.concatenate([sample["imu/values"] for sample in samples()]).astype(np.float32))
    mean = encoder(rows).mean(0).detach().numpy()
    assert bundle.manifest.streams["imu"].missing.kind == "mean"
    np.testing.assert_allclose(bundle.tokens["imu"], [mean, mean], atol=1e-6)


def test_a_head_without_masks_that_reads_the_order_is_known_as_such(tmp_path: Path):
    model = declared(head=Last(), outputs={"state": te.Classes(["a", "b", "c"])})
    bundle, report = export_model(model, tmp_path / "last")
    assert report.ok
    assert not bundle.manifest.head.masks
    assert bundle.manifest.head.order_matters
    assert [tensor.name for tensor in bundle.manifest.parts["fusion"].inputs] == ["mic", "imu"]


def test_a_stand_in_may_have_several_steps(tmp_path: Path):
    imu = te.Stream(te.Series(6), nn.Linear(6, 4), missing=torch.randn(3, 4))
    model = declared(streams={**declared().streams, "imu": imu})
    bundle, _ = export_model(model, tmp_path / "steps")
    assert bundle.tokens["imu"].shape == (3, 4)
    assert bundle.manifest.streams["imu"].missing.steps == 3


class Wrong(nn.Module):
    """An encoder that gives something that cannot be used."""

    def __init__(self, give: str) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.give = give

    def forward(self, values: Tensor) -> Any:
        y = self.layer(values)
        if self.give == "dict":
            return {"hidden": y}
        if self.give == "nan":
            return y * float("nan")
        if self.give == "rank":
            return y[:, None, None]
        if self.give == "double":
            return y.double()
        raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("give", "words"),
    [
        ("dict", "imu: expected a module that returns features"),
        ("nan", "imu: the encoder gives NaN"),
        ("rank", "imu: expected an encoder that gives float32"),
        ("double", "imu: expected an encoder that gives float32.*got float64"),
        ("raise", "imu: the encoder fails on values.*ValueError: no such thing"),
    ],
)
def test_an_encoder_that_gives_something_else_is_refused(tmp_path: Path, give: str, words: str):
    model = declared(streams={**declared().streams, "imu": te.Stream(te.Series(6), Wrong(give))})
    with pytest.raises(ContractError, match=words):
        export_model(model, tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


def test_take_chooses_from_what_an_encoder_gives(tmp_path: Path):
    model = declared(streams={**declared().streams, "imu": te.Stream(te.Series(6), Wrong("dict"), take="hidden")})
    assert export_model(model, tmp_path / "taken")[1].ok


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": {"state": te.Classes(["a", "b"]), "mood": te.Regression(["v", "w"])}}, r"\(batch, 2\)"),
        ({"samples": [{**samples()[0], "label/state": 7}]}, "label/state to fit the 3 names"),
        ({"samples": [{**samples()[0], "label/mood": [1.0]}]}, "label/mood to fit the 2 names"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_the_head_are_refused(tmp_path: Path, changes: dict[str, Any], words: str):
    with pytest.raises(ContractError, match=words):
        export_model(declared(**changes), tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


def test_a_stand_in_of_the_wrong_width_is_refused(tmp_path: Path):
    imu = te.Stream(te.Series(6), nn.Linear(6, 4), missing=torch.zeros(5))
    with pytest.raises(ContractError, match="as wide as the encoder's features, 4, got 5"):
        export_model(declared(streams={**declared().streams, "imu": imu}), tmp_path / "wrong")


def test_an_opset_that_is_too_old_or_not_there_yet_is_refused(tmp_path: Path):
    for opset in (13, 99):
        with pytest.raises(ContractError, match=rf"opset from 17 to \d+, got {opset}"):
            export_model(declared(), tmp_path / "old", opset=opset)


def test_a_head_that_cannot_be_exported_leaves_nothing_behind(tmp_path: Path):
    class Branching(Pooled):
        """Its outputs hang on a value that a trace takes for a constant."""

        def forward(self, imu: Tensor, imu_mask: Tensor, mic: Tensor, mic_mask: Tensor) -> dict[str, Tensor]:
            given = super().forward(imu, imu_mask, mic, mic_mask)
            return given if float(imu.sum()) > 0 else {name: -value for name, value in given.items()}

    with pytest.raises((ExportError, CheckFailedError), match="fusion"):
        export_model(declared(head=Branching()), tmp_path / "branching")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path):
    (tmp_path / "precious.onnx").write_bytes(b"mine")
    with pytest.raises(OutputError, match="precious.onnx"):
        export_model(declared(), tmp_path)
    assert (tmp_path / "precious.onnx").read_bytes() == b"mine"


@pytest.mark.parametrize("exclusive", [True, False])
def test_logits_are_not_taken_for_probabilities(tmp_path, exclusive):
    outputs = {
        "state": te.Classes(["a", "b", "c"], gives="probabilities", exclusive=exclusive),
        "mood": te.Regression(["v", "w"]),
    }
    with pytest.raises(ContractError, match="state: expected probabilities from 0 to 1, got .*: use gives='logits'"):
        export_model(declared(outputs=outputs), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


SCORE = {
    "metric": "accuracy",
    "value": 0.91,
    "interval": {"low": 0.88, "high": 0.94},
    "outputs": {"state": {"by_name": {"a": 0.9}}, "mood": {"by_name": {"v": 0.5}}},
    "clips": 900,
}
#: What `evaluate --json` writes of a model with two groups of outputs.
REPORT: dict[str, Any] = {
    "metric": "accuracy",
    "artefact": "model.py:build",
    "data": "pumps",
    "synthetic": False,
    "split": "test",
    "clean": SCORE,
    "natural": SCORE,
    "patterns": {"imu": SCORE},
}


def test_a_declared_model_says_what_it_is_for(tmp_path):
    said = te.ModelCard(licence="MIT", intended_use="Pumps of one kind.", misuse="Persons.", limits="Indoors.")
    report = tmp_path / "report.json"
    write_json(report, REPORT)
    bundle, _ = export_model(declared(card=said, trained_on="60 pumps"), tmp_path / "b", evaluations=[report])
    card = card_of_bundle(bundle)
    for words in ("Pumps of one kind.", "Persons.", "Indoors.", 'license: "mit"', "0.910 | 0.880 to 0.940", "60 pumps"):
        assert words in card
    assert "emotion" not in card
    assert said_of(bundle).evaluations[0].by_name == {"state.a": 0.9, "mood.v": 0.5}


def test_a_model_that_says_nothing_has_a_card_without_a_record(tmp_path):
    bundle, _ = export_model(declared(), tmp_path / "b")
    assert MODEL_CARD in bundle.manifest.sha256
    assert CARD_RECORD not in bundle.manifest.sha256


@pytest.mark.parametrize(
    ("changes", "by_name", "error", "told"),
    [
        ({"card": {"licence": "MIT"}}, {"a": 0.9}, ContractError, "expected card as a taemi_edge.ModelCard"),
        ({}, {"joy": 0.9}, InputError, "got 'joy', which is none"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path, changes, by_name, error, told):
    report = tmp_path / "report.json"
    write_json(report, {**REPORT, "clean": {**SCORE, "outputs": {"state": {"by_name": by_name}}}})
    with pytest.raises(error, match=told):
        export_model(declared(**changes), tmp_path / "b", evaluations=[report])
    assert not (tmp_path / "b").exists()


def test_new_models_leave_the_names_of_the_marks_to_predictions():
    outputs = {"mood": te.Regression(("x", "y")), "synthetic": te.Classes(("a", "b", "c"))}
    with pytest.raises(ContractError, match="expected another name than 'synthetic'"):
        declared(outputs=outputs)
