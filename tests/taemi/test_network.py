"""The model: what the paper needs of its fusion, and that the encoders see what their own libraries give them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model is PyTorch")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.media.files import MediaFile
from taemi_edge.taemi.attention import Attention
from taemi_edge.taemi.checkpoint import new_checkpoint, open_checkpoint
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import Fusion, LogMel, MissingTokens, TaemiModel, ZScore
from taemi_edge.taemi.recipe import FusionRecipe, ModelRecipe

DIMS = {"vision": 6, "audio": 5, "text": 4}


@pytest.fixture(scope="module")
def model() -> TaemiModel:
    return open_checkpoint("taemi-tiny").model


def features(batch: int = 3, steps: int = 4) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    values = {m: torch.randn(batch, steps, DIMS[m], generator=generator) for m in MODALITIES}
    return values, {m: torch.ones(batch, steps, dtype=torch.int32) for m in MODALITIES}


def fusion(**changes: object) -> Fusion:
    torch.manual_seed(0)
    return Fusion(DIMS, FusionRecipe(dim=16, heads=2, hidden_dim=8, **changes)).eval()


def feeds(values: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**values, **{f"{m}_mask": mask for m, mask in masks.items()}}


@pytest.mark.parametrize("kind", ["anchored", "concat", "late-pooling", "joint-attention"])
@pytest.mark.parametrize("anchor", MODALITIES)
def test_every_ablation_gives_six_intensities(kind: str, anchor: str):
    output = fusion(kind=kind, anchor=anchor)(**feeds(*features()))
    assert output.shape == (3, 6)
    assert ((output > 0) & (output < 1)).all()


def test_the_variants_are_configuration_of_one_class():
    assert {len(list(fusion(kind=k).attention)) for k in ("concat", "late-pooling")} == {0}
    assert list(fusion(kind="anchored", anchor="text").attention) == ["vision", "audio"]
    assert list(fusion(kind="anchored", anchor="audio").attention) == ["vision", "text"]


@pytest.mark.parametrize("kind", ["anchored", "concat", "late-pooling"])
@pytest.mark.parametrize("lost", MODALITIES)
def test_one_token_is_the_tiled_token(kind: str, lost: str):
    values, masks = features()
    head, token = fusion(kind=kind), torch.randn(DIMS[lost])
    values[lost], masks[lost] = token.expand(3, 1, -1), torch.ones(3, 1, dtype=torch.int32)
    single = head(**feeds(values, masks))
    values[lost], masks[lost] = token.expand(3, 9, -1), torch.ones(3, 9, dtype=torch.int32)
    torch.testing.assert_close(head(**feeds(values, masks)), single, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["anchored", "concat", "late-pooling", "joint-attention"])
def test_padding_changes_nothing(kind: str):
    values, masks = features()
    head = fusion(kind=kind)
    plain = head(**feeds(values, masks))
    padded = {m: torch.cat([v, torch.full((3, 5, DIMS[m]), 7.0)], 1) for m, v in values.items()}
    longer = {m: torch.cat([v, torch.zeros(3, 5, dtype=torch.int32)], 1) for m, v in masks.items()}
    torch.testing.assert_close(head(**feeds(padded, longer)), plain, atol=1e-5, rtol=0)


def test_a_fully_masked_row_is_finite():
    attention = Attention(16, 2).eval()
    x = torch.randn(2, 3, 16)
    assert torch.isfinite(attention(x, x, torch.zeros(2, 3, dtype=torch.int32))).all()


def test_the_swap_replaces_absent_clips_and_survives_nan():
    tokens = MissingTokens(DIMS, learnable=True)
    values = torch.ones(2, 3, 6)
    values[0, 2], values[1] = float("nan"), float("nan")
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int32)
    swapped, masks = tokens.swap("vision", values, mask, torch.tensor([True, False]))
    assert torch.isfinite(swapped).all()
    assert torch.equal(swapped[1], tokens.of("vision").expand(3, 6))
    assert masks.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert torch.equal(swapped[0, :2], torch.ones(2, 6))


def test_a_swap_for_a_head_that_counts_steps_shows_as_many_as_the_token_has():
    tokens = MissingTokens(DIMS, learnable=True)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int32)
    swapped, masks = tokens.swap("vision", torch.ones(2, 3, 6), mask, torch.tensor([True, False]), steps=1)
    assert masks.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert torch.equal(swapped[1, 0], tokens.of("vision"))


def test_tokens_learn_only_from_clips_that_lack_a_stream(model: TaemiModel):
    dims = model.feature_dims
    values = {m: torch.randn(2, 3, dims[m]) for m in MODALITIES}
    masks = {m: torch.ones(2, 3, dtype=torch.int32) for m in MODALITIES}
    present = {m: torch.tensor([True, m != "audio"]) for m in MODALITIES}
    model.zero_grad()
    model.fuse(values, masks, present).sum().backward()
    lengths = {m: float(model.tokens.of(m).grad.norm()) for m in MODALITIES}
    assert lengths["audio"] > 0
    assert lengths["vision"] == lengths["text"] == 0


def test_without_missing_tokens_they_are_zeros_that_do_not_learn():
    tokens = MissingTokens(DIMS, learnable=False)
    assert all(not tokens.of(m).any() and not tokens.of(m).requires_grad for m in MODALITIES)


def test_a_recipe_gives_the_same_model_twice():
    first, second = (open_checkpoint("taemi-tiny").model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = msgspec.structs.replace(load_recipe("export", "taemi-tiny", ModelRecipe), seed=1)
    third = new_checkpoint(other).model.state_dict()
    assert not torch.equal(first["fusion.head.1.weight"], third["fusion.head.1.weight"])


def speech(video, seconds: float) -> np.ndarray:
    with MediaFile(video) as media:
        pieces = [piece.values for hop in media.hops(0.5) for piece in hop.sound]
    return np.concatenate(pieces)[16_000 : 16_000 + round(seconds * 16_000)]


def test_log_mel_in_the_graph_is_the_feature_extractor_of_whisper(demo_video):
    from transformers import WhisperFeatureExtractor

    samples = speech(demo_video, 2.0)
    extractor = WhisperFeatureExtractor(feature_size=80)
    theirs = extractor._np_extract_fbank_features(samples[None].astype(np.float64), device="cpu")
    ours = LogMel(80)(torch.from_numpy(samples[None])).numpy()
    assert ours.shape == theirs.shape == (1, 80, 200)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_z_score_in_the_graph_is_the_feature_extractor_of_wav2vec2(demo_video):
    from transformers import Wav2Vec2FeatureExtractor

    samples = speech(demo_video, 1.0)
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(samples, sampling_rate=16_000).input_values[0]
    np.testing.assert_allclose(ZScore()(torch.from_numpy(samples[None])).numpy()[0], theirs, atol=1e-5)


@pytest.mark.nightly
def test_whisper_cut_to_a_window_is_whisper_on_its_30_seconds(demo_video):
    """At the full length both must agree: only the positions are cut."""
    from taemi_edge.taemi.network import _encode_whisper

    encoder = open_checkpoint("taemi-mobile").model.audio.backbone
    mels = LogMel(80)(torch.from_numpy(np.resize(speech(demo_video, 10.0), 480_000)[None]))
    with torch.no_grad():
        theirs = encoder(mels).last_hidden_state
        torch.testing.assert_close(_encode_whisper(encoder, mels), theirs, atol=1e-4, rtol=0)
