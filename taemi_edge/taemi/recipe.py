"""The recipe of a TAEMI model, `export/NAME.toml`: encoders, head, training, and the tolerances of its artefacts."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from taemi_edge.bundle.limits import MOST_BATCH, MOST_WIDTH
from taemi_edge.bundle.spec import WindowSpec
from taemi_edge.bundle.streams import PresenceSpec, require_pictures, require_sound, require_tokens
from taemi_edge.bundle.values import Frozen, PartTolerances


class EncoderRecipe(Frozen, frozen=True):
    """Which network encodes a modality.

    `architecture` is a transformers model type (`vit`, `wav2vec2`, `bert`, ...), `efficientnet-lite0`, or `small-cnn`
    and `mel-cnn` (`taemi_edge.taemi.small_encoders`). `weights` is a hub id, a local folder, `package:NAME` for weights
    that come in a registry package, or empty for random ones. `config` overrides the architecture's default sizes where
    there are no weights to take them from.
    """

    architecture: str
    weights: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict)


class VisionRecipe(Frozen, frozen=True):
    """How faces are encoded: crops of `size_hw`, scaled as (pixels - mean) / std for each RGB channel.

    The outputs of the encoder are pooled to one vector for each frame.
    """

    encoder: EncoderRecipe
    size_hw: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pooling: Literal["cls", "mean"]
    frames_per_second: float
    presence: PresenceSpec

    def __post_init__(self) -> None:
        require_pictures(self.size_hw, self.frames_per_second)


class AudioRecipe(Frozen, frozen=True):
    """How sound is encoded: chunks of `chunk_s` seconds of mono, together with the `context_s` seconds before them."""

    encoder: EncoderRecipe
    frontend: Literal["log-mel", "z-score"]
    chunk_s: float
    context_s: float
    presence: PresenceSpec
    sample_rate_hz: int = 16_000

    def __post_init__(self) -> None:
        require_sound(self.sample_rate_hz, self.chunk_s, self.context_s)


class TextRecipe(Frozen, frozen=True):
    """How words are encoded: at most `max_tokens` tokens of the window; the last words are kept."""

    encoder: EncoderRecipe
    max_tokens: int
    presence: PresenceSpec
    #: "weights" takes the tokenizer that lies beside the weights, "bytes" needs none: each UTF-8 byte is a token.
    #: "words" is learned from the transcripts of the training clips, as many words as the encoder has embeddings
    #: for. Anything else names where a tokenizer.json is, in the same way as EncoderRecipe.weights.
    tokenizer: str = "weights"

    def __post_init__(self) -> None:
        require_tokens(self.max_tokens)


class FusionRecipe(Frozen, frozen=True):
    """The trainable part. `kind` and `anchor` are the paper's ablations (arXiv 2603.14976, Tables 3 and 4).

    The last four kinds are heads in the manner of other papers, for its Table 2 (`taemi_edge.taemi.published_heads`).
    """

    kind: Literal[
        "anchored", "concat", "late-pooling", "joint-attention",
        "speech-lstm", "statistics", "joint-transformer", "tcn-bilstm",
    ] = "anchored"  # fmt: skip
    anchor: Literal["vision", "audio", "text"] = "text"
    missing_tokens: bool = True
    dim: int = 256
    heads: int = 8
    hidden_dim: int = 256
    dropout: float = 0.2
    modality_dropout: float = 0.3
    #: "package:NAME" for a head that ships with taemi-edge, trained for this recipe's encoders; else untrained.
    weights: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.dropout < 1 and 0 <= self.modality_dropout < 1):
            raise ValueError(
                f"expected dropout and modality_dropout in [0, 1), got {self.dropout} and {self.modality_dropout}"
            )
        sizes = (self.dim, self.heads, self.hidden_dim)
        if not 1 <= min(sizes) <= max(sizes) <= MOST_WIDTH:
            raise ValueError(f"expected dim, heads and hidden_dim from 1 to {MOST_WIDTH:,}, got {sizes}")
        if self.dim % self.heads:
            raise ValueError(f"expected dim to be a multiple of heads, got {self.dim} and {self.heads}")


class TrainingRecipe(Frozen, frozen=True):
    """How the model is trained. The paper publishes none of this, so all defaults are our own choice.

    Attributes:
        encoders: "frozen" trains the fusion head and the tokens on stored features, "end-to-end" everything.
        loss: "mse+pearson" is mse_weight * MSE + (1 - Pearson over the batch); "ccc" is 1 - Lin's concordance.
        warmup: the share of steps in which the learning rate rises; it falls as a cosine afterwards.
        keep: the weights to keep: of the "best" epoch by mean Pearson on the valid split, or of the "last".
        modalities: the streams that training may see, for baselines; all others are missing throughout.
    """

    encoders: Literal["frozen", "end-to-end"] = "frozen"
    loss: Literal["mse+pearson", "mse+ccc", "mse", "ccc"] = "mse+pearson"
    mse_weight: float = 5.0
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.3
    clip_norm: float = 1.0
    keep: Literal["best", "last"] = "best"
    modalities: tuple[Literal["vision", "audio", "text"], ...] = ("vision", "audio", "text")

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"expected epochs >= 1 and batch_size >= 2, got {self.epochs} and {self.batch_size}")
        if self.learning_rate <= 0 or not 0 < self.warmup < 1:
            raise ValueError(
                f"expected learning_rate > 0 and 0 < warmup < 1, got {self.learning_rate} and {self.warmup}"
            )
        if not self.modalities:
            raise ValueError("expected at least one of vision, audio, text in modalities, got none")


class ExportRecipe(Frozen, frozen=True):
    """What the exporter produces: the opset, and the largest batches that are compared with PyTorch."""

    opset: int = 17
    max_frames: int = 16
    max_batch: int = 4

    def __post_init__(self) -> None:
        if not 1 <= min(self.max_frames, self.max_batch) <= max(self.max_frames, self.max_batch) <= MOST_BATCH:
            raise ValueError(
                f"expected max_frames and max_batch from 1 to {MOST_BATCH}, got {self.max_frames} and {self.max_batch}"
            )


class ModelRecipe(Frozen, frozen=True):
    """`export/NAME.toml`: one model, from its encoders to the tolerances of its artefacts."""

    name: str
    vision: VisionRecipe
    audio: AudioRecipe
    text: TextRecipe
    fusion: FusionRecipe
    window: WindowSpec
    tolerances: PartTolerances
    training: TrainingRecipe = TrainingRecipe()
    export: ExportRecipe = ExportRecipe()
    seed: int = 0
