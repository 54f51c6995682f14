"""The heads after other papers: blind to padding, exact where a stream is missing, and exportable with every input."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the heads are PyTorch")
onnxruntime = pytest.importorskip("onnxruntime")

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.tracing import export_module
from taemi_edge.taemi.names import EMOTIONS, MODALITIES
from taemi_edge.taemi.network import Fusion, FusionHead
from taemi_edge.taemi.published_heads import PUBLISHED_HEADS
from taemi_edge.taemi.recipe import FusionRecipe, TrainingRecipe
from taemi_edge.taemi.train.feature_examples import features_from_arrays
from taemi_edge.taemi.train.trainer import Trainer

DIMS = {"vision": 6, "audio": 5, "text": 4}
KINDS = sorted(PUBLISHED_HEADS)
every_kind = pytest.mark.parametrize("kind", KINDS)
Feeds = dict[str, torch.Tensor]


def recipe(kind: str) -> FusionRecipe:
    return FusionRecipe(kind=kind, dim=16, heads=2, hidden_dim=8)


def fusion(kind: str) -> Fusion:
    torch.manual_seed(0)
    return Fusion(DIMS, recipe(kind)).eval()


def ragged(batch: int, steps: dict[str, int], seed: int = 0) -> Feeds:
    """Clips of different lengths, of which the first is the longest; the padding holds zeros."""
    generator = torch.Generator().manual_seed(seed)
    feeds: Feeds = {}
    for m in MODALITIES:
        lengths = torch.randint(1, steps[m] + 1, (batch,), generator=generator)
        lengths[0] = steps[m]
        mask = (torch.arange(steps[m]) < lengths[:, None]).int()
        feeds[m] = torch.randn(batch, steps[m], DIMS[m], generator=generator) * mask.unsqueeze(2)
        feeds[f"{m}_mask"] = mask
    return feeds


STEPS = {"vision": 7, "audio": 9, "text": 4}


@every_kind
@torch.no_grad()
def test_a_clip_gives_the_same_alone_and_padded_in_a_batch(kind: str):
    head, feeds = fusion(kind), ragged(4, STEPS)
    together = head(**feeds)
    assert together.shape == (4, len(EMOTIONS))
    for row in range(4):
        alone = {}
        for m in MODALITIES:
            length = int(feeds[f"{m}_mask"][row].sum())
            alone[m], alone[f"{m}_mask"] = (feeds[n][row : row + 1, :length] for n in (m, f"{m}_mask"))
        assert torch.allclose(head(**alone)[0], together[row], atol=1e-6)


@every_kind
@pytest.mark.parametrize("lost", MODALITIES)
@torch.no_grad()
def test_training_sees_a_missing_stream_as_the_runtime_binds_it(kind: str, lost: str):
    head = FusionHead(DIMS, recipe(kind), seed=0).eval()
    feeds = ragged(3, STEPS)
    present = {m: torch.full((3,), m != lost) for m in MODALITIES}
    trained = head.fuse({m: feeds[m] for m in MODALITIES}, {m: feeds[f"{m}_mask"] for m in MODALITIES}, present)
    bound = dict(feeds)
    steps = head.fusion.token_steps[lost]
    bound[lost] = head.tokens.of(lost).expand(3, steps, -1)
    bound[f"{lost}_mask"] = torch.ones(3, steps, dtype=torch.int32)
    assert torch.allclose(trained, head.fusion(**bound), atol=1e-6)


@every_kind
@torch.no_grad()
def test_a_head_says_which_streams_it_reads_and_which_in_order(kind: str):
    head, feeds = fusion(kind), ragged(1, STEPS)
    before = head(**feeds)
    for m in MODALITIES:
        other = head(**{**feeds, m: feeds[m] + 1})
        assert torch.equal(before, other) == (m not in head.reads), m
        turned = head(**{**feeds, m: feeds[m].flip(1)})
        assert torch.allclose(before, turned, atol=1e-6) == (m not in head.ordered), m


def test_the_head_after_hallmen_hears_speech_alone():
    assert fusion("speech-lstm").reads == ("audio",)
    assert fusion("anchored").reads == MODALITIES
    assert fusion("anchored").ordered == ()


@torch.no_grad()
def test_a_broken_stream_that_is_not_read_spoils_nothing():
    head, feeds = fusion("speech-lstm"), ragged(2, STEPS)
    broken = head(**{**feeds, "vision": torch.full_like(feeds["vision"], torch.nan)})
    assert torch.equal(broken, head(**feeds))


@every_kind
@torch.no_grad()
def test_the_graph_keeps_every_input_and_equals_pytorch_at_lengths_that_were_not_traced(kind: str, tmp_path: Path):
    head = fusion(kind)
    inputs: list[TensorSpec] = []
    for m in MODALITIES:
        inputs.append(TensorSpec(name=m, dtype="float32", shape=("batch", f"{m}_steps", DIMS[m])))
        inputs.append(TensorSpec(name=f"{m}_mask", dtype="int32", shape=("batch", f"{m}_steps")))
    outputs = (TensorSpec(name="intensities", dtype="float32", shape=("batch", len(EMOTIONS))),)
    lengths = {"batch": 2, "vision_steps": 5, "audio_steps": 11, "text_steps": 8}
    part = export_module(head, tmp_path / "fusion.onnx", tuple(inputs), outputs, lengths=lengths, opset=17)
    assert part.opset == 17
    session = onnxruntime.InferenceSession(str(tmp_path / "fusion.onnx"), providers=["CPUExecutionProvider"])
    assert {node.name for node in session.get_inputs()} == {spec.name for spec in inputs}
    for batch, steps in ((1, dict.fromkeys(MODALITIES, 1)), (3, STEPS), (5, {"vision": 1, "audio": 40, "text": 1})):
        feeds = ragged(batch, steps, seed=batch)
        (got,) = session.run(None, {name: value.numpy() for name, value in feeds.items()})
        assert abs(got - head(**feeds).numpy()).max() < 1e-5


@every_kind
def test_every_head_learns_from_clips_that_lack_streams(kind: str):
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(24, len(EMOTIONS), generator=generator).numpy()
    clips = {m: [torch.randn(3 + i % 4, DIMS[m], generator=generator).numpy() for i in range(24)] for m in MODALITIES}
    for m in MODALITIES:
        clips[m][3] = clips[m][3][:0]
    head = FusionHead(DIMS, recipe(kind), seed=0)
    before = {name: value.clone() for name, value in head.fusion.named_parameters()}
    trainer = Trainer(
        head, features_from_arrays(clips, labels, DIMS), None, TrainingRecipe(epochs=2, batch_size=8), 0.4
    )
    trainer.run()
    unread = tuple(f"align.{m}." for m in MODALITIES if m not in head.fusion.reads)
    same = [name for name, value in head.fusion.named_parameters() if torch.equal(value, before[name])]
    assert all(name.startswith(unread) for name in same), same
    assert trainer.untrained_tokens == ()
