"""A recipe name or TOML file in, a validated frozen recipe out.

A name is looked up first as a path, then among the recipes that ship with the package.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from taemi_edge.errors import RecipeError
from taemi_edge.spec import Frozen, PartTolerances, Precision, PresenceSpec, WindowSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["export", "calibration", "engines"]
RecipeType = TypeVar("RecipeType", bound=Frozen)


class EncoderRecipe(Frozen, frozen=True):
    """Which network encodes a modality.

    `architecture` is a transformers model type (`vit`, `wav2vec2`, `bert`, ...) or `efficientnet-lite0`. `weights` is a
    hub id, a local folder, `package:NAME` for weights that come in a registry package, or empty for random ones.
    `config` overrides the architecture's default sizes where there are no weights to take them from.
    """

    architecture: str
    weights: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict)


class VisionRecipe(Frozen, frozen=True):
    """Face crops of `size_hw`, scaled as (pixels - mean) / std per RGB channel, pooled to one vector a frame."""

    encoder: EncoderRecipe
    size_hw: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pooling: Literal["cls", "mean"]
    frames_per_second: float
    presence: PresenceSpec


class AudioRecipe(Frozen, frozen=True):
    """Chunks of `chunk_s` seconds of 16 kHz mono, encoded together with the `context_s` seconds before."""

    encoder: EncoderRecipe
    frontend: Literal["log-mel", "z-score"]
    chunk_s: float
    context_s: float
    presence: PresenceSpec
    sample_rate_hz: int = 16_000


class TextRecipe(Frozen, frozen=True):
    """At most `max_tokens` tokens of the window's words; the last words are kept where there are more."""

    encoder: EncoderRecipe
    max_tokens: int
    presence: PresenceSpec
    #: "weights" takes the tokenizer that lies beside the weights, "bytes" needs none: a token a UTF-8 byte;
    #: anything else is where to find a tokenizer.json, in the words of EncoderRecipe.weights.
    tokenizer: str = "weights"


class FusionRecipe(Frozen, frozen=True):
    """The trainable part. `kind` and `anchor` are the paper's ablations (arXiv 2603.14976, Tables 3 and 4)."""

    kind: Literal["anchored", "concat", "late-pooling", "joint-attention"] = "anchored"
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
        if self.dim % self.heads:
            raise ValueError(f"expected dim to be a multiple of heads, got {self.dim} and {self.heads}")


class TrainingRecipe(Frozen, frozen=True):
    """How the model is trained; none of it is published, so all of it is ours.

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
    """What the exporter may assume: the opset, and the largest batches it must prove."""

    opset: int = 17
    max_frames: int = 16
    max_batch: int = 4


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


class BudgetRecipe(Frozen, frozen=True):
    """What INT8 may cost: the least Pearson of a part with FP32, and how far mean Pearson on labels may fall."""

    pearson: float = 0.995
    mean_pearson_drop: float = 0.01


class CalibrationRecipe(Frozen, frozen=True):
    """`calibration/NAME.toml`: how ranges are found and which parts of a network keep a higher precision.

    Attributes:
        clips, held_out: how many clips give ranges, and how many judge the result.
        min_clips: fewer are refused.
        frames_per_clip: how many frames of a clip count, evenly over it: neighbours tell little new.
        batch: frames or chunks at a time; every tensor of a part is kept for them.
        rows: the feature vectors of each tensor that are kept to choose alpha and range on.
        methods: ways to find a range; where there are several, the one whose part is nearest to FP32 is kept.
        alphas: strengths of SmoothQuant to try for each group of Linears, besides none.
        exclude: a part's blocks that stay in higher precision, each with the reason; measurements may add to them.
        attention_matmuls, softmax, layer_norm: make their inputs INT8 too.
        fp16_keep: scopes of a part that stay in FP32 among FP16, by part.
        fp16_margin: how far below FP16's largest number a magnitude must stay on real clips.
        fp16, int8: tolerances of the two precisions.
    """

    name: str
    fp16: PartTolerances
    int8: PartTolerances
    clips: int = 64
    held_out: int = 60
    min_clips: int = 8
    frames_per_clip: int = 8
    trial_clips: int = 12
    batch: int = 2
    longest_s: float = 20.0
    rows: int = 512
    methods: tuple[Literal["minmax", "percentile", "entropy"], ...] = ("minmax", "percentile", "entropy")
    percentile: float = 99.99
    alphas: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    exclude: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    attention_matmuls: bool = False
    softmax: bool = False
    layer_norm: bool = False
    fp16_keep: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    fp16_margin: float = 2.0
    budget: BudgetRecipe = BudgetRecipe()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.min_clips <= self.clips:
            raise ValueError(f"expected 1 <= min_clips <= clips, got {self.min_clips} and {self.clips}")
        counts = ("held_out", "frames_per_clip", "trial_clips", "batch")
        if low := [name for name in counts if getattr(self, name) < 1]:
            raise ValueError(f"expected {low[0]} >= 1, got {getattr(self, low[0])}")
        if self.rows < 2:
            raise ValueError(f"expected rows >= 2, half of them to choose and half to check, got {self.rows}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"expected 0 < percentile <= 100, got {self.percentile}")
        if self.longest_s <= 0 or self.fp16_margin < 1:
            raise ValueError(
                f"expected longest_s > 0 and fp16_margin >= 1, got {self.longest_s} and {self.fp16_margin}"
            )
        if not self.methods:
            raise ValueError("expected at least one of minmax, percentile, entropy in methods, got none")
        if any(not 0 < alpha < 1 for alpha in self.alphas):
            raise ValueError(f"expected every alpha between 0 and 1, got {list(self.alphas)}")
        if unknown := sorted({*self.exclude, *self.fp16_keep} - {"vision", "audio", "text", "fusion"}):
            raise ValueError(f"expected vision, audio, text or fusion in exclude and fp16_keep, got {unknown[0]!r}")


Backend = Literal["onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]
Spans = dict[str, tuple[int, int, int]]


def _default_profiles(sources: int = 1) -> dict[str, Spans]:
    """Lowest, usual and highest length of every dynamic dimension: a hop of each source, windows up to a minute.

    Rings of several sources have a row for the missing-modality token: 64 tokens and one more.
    """
    return {
        "vision": {"frames": (1, 5 * sources // 2, max(16, 4 * sources))},
        "audio": {"batch": (1, sources, max(16, 2 * sources)), "samples": (8000, 16_000, 16_000)},
        "text": {"batch": (1, sources, max(4, sources)), "tokens": (1, 32, 64)},
        "fusion": {
            "batch": (1, sources, max(4, sources)),
            "vision_steps": (1, 20, 300),
            "audio_steps": (1, 200, 3000),
            "text_steps": (1, 32, 65),
        },
    }


class TargetRecipe(Frozen, frozen=True):
    """`engines/NAME.toml`: a device, and how engines are built for it.

    Attributes:
        architecture: the processor's, "" for any; an engine is built on the device that will run it.
        sm: the GPU's compute capability, "" for any.
        ahead_of_time: build without the GPU, for `sm`; such an engine cannot be verified where it is built.
        precisions: what `--precision auto` may choose from.
        workspace_mib: how much memory tactics may use while building; 0 leaves it to TensorRT.
        tactic_sources: the libraries to take tactics from, by TensorRT's names; empty for its default.
        optimisation_level: 0 (fast builds) to 5; unset for TensorRT's default.
        tf32: let FP32 engines round to ten bits of mantissa.
        constrain_precision: TensorRT 8.6 alone: demand FP32 for LayerNorm and softmax layer by layer. On an H100 that
            kept every part with a LayerNorm in FP32 as a whole (docs/engines.md), so it is off.
        sources: how many sources share the engines: batches are made for one hop of each.
        profiles: (min, opt, max) of each dynamic dimension, by part, where they are to be others.
        runs: how often a candidate is timed.
        gain: the share of time that a lower precision must save to be kept: less is noise, and exactness is worth more.
    """

    name: str
    backend: Backend
    architecture: Literal["", "x86_64", "aarch64"] = ""
    sm: str = ""
    ahead_of_time: bool = False
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    workspace_mib: int = 0
    tactic_sources: tuple[str, ...] = ()
    optimisation_level: int | None = None
    timing_cache: bool = True
    tf32: bool = False
    constrain_precision: bool = False
    sources: int = 1
    profiles: dict[str, Spans] = msgspec.field(default_factory=dict)
    runs: int = 30
    gain: float = 0.05
    budget: BudgetRecipe = BudgetRecipe()

    def __post_init__(self) -> None:
        defaults = _default_profiles()
        for part, spans in self.profiles.items():
            if part not in defaults:
                raise ValueError(f"expected profiles of vision, audio, text or fusion, got {part!r}")
            for dimension, (low, usual, high) in spans.items():
                if dimension not in defaults[part]:
                    raise ValueError(f"expected {', '.join(defaults[part])} in profiles.{part}, got {dimension!r}")
                if not 0 < low <= usual <= high:
                    raise ValueError(
                        f"expected 0 < min <= opt <= max for {part}.{dimension}, got {low}, {usual}, {high}"
                    )
        if self.ahead_of_time and not self.sm:
            raise ValueError("expected a compute capability in sm, since ahead_of_time builds without the GPU")
        if not 1 <= self.sources <= 256:
            raise ValueError(f"expected 1 to 256 sources, got {self.sources}")
        if self.runs < 1 or not 0 <= self.gain < 1:
            raise ValueError(f"expected runs >= 1 and 0 <= gain < 1, got {self.runs} and {self.gain}")
        if self.workspace_mib < 0 or self.optimisation_level not in (None, 0, 1, 2, 3, 4, 5):
            raise ValueError(
                f"expected workspace_mib >= 0 and an optimisation_level of 0 to 5, got {self.workspace_mib} and "
                f"{self.optimisation_level}"
            )
        if not self.precisions:
            raise ValueError("expected at least one of fp32, fp16, int8 in precisions, got none")

    @property
    def is_tensorrt(self) -> bool:
        return self.backend.startswith("tensorrt")

    def spans(self, part: str) -> Spans:
        """The optimization profile of a part."""
        return {**_default_profiles(self.sources)[part], **self.profiles.get(part, {})}


def recipe_folders(kind: Kind) -> list[Path]:
    """Where recipes of a kind ship: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return [folder for folder in (package / "recipes" / kind, package.parent / kind) if folder.is_dir()]


def list_recipes(kind: Kind) -> list[str]:
    """The names that `--help` and error messages offer."""
    return sorted({file.stem for folder in recipe_folders(kind) for file in folder.glob("*.toml")})


def find_recipe(kind: Kind, name: str) -> Path:
    """The file of a recipe given as a path or as the name of one that ships.

    Raises:
        RecipeError: neither exists; the message lists the names that do.
    """
    direct = Path(name)
    if direct.suffix == ".toml" and direct.is_file():
        return direct
    for folder in recipe_folders(kind):
        if (file := folder / f"{name}.toml").is_file():
            return file
    known = list_recipes(kind)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known recipes: {', '.join(known)}"
    raise RecipeError(f"expected a recipe's name or a TOML file, got {name!r}: {hint}")


def load_recipe(
    kind: Kind, name: str, recipe_type: type[RecipeType], changes: Mapping[str, str] | None = None
) -> RecipeType:
    """Read and validate a recipe.

    Args:
        changes: values by dotted key that take the place of the file's ("fusion.kind": "concat"); written as in TOML,
            where a bare word is a string.

    Raises:
        RecipeError: not found, not TOML, a key that is unknown or missing, or a value of the wrong kind.

    Example:
        >>> load_recipe("export", "taemi-tiny", ModelRecipe).name
        'taemi-tiny'
    """
    file = find_recipe(kind, name)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: expected TOML, got {error}") from error
    for key, value in (changes or {}).items():
        change_key(content, key, value)
    return recipe_from_mapping(content, recipe_type, str(file))


def recipe_from_mapping(content: object, recipe_type: type[RecipeType], where: str) -> RecipeType:
    """Validate what TOML or JSON gave; an unknown key is answered with the nearest known one."""
    try:
        return msgspec.convert(content, recipe_type)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {_explain(str(error), recipe_type)}") from error


def recipe_hash(recipe: Frozen) -> str:
    """The sha256 of a recipe's values: comments and the order of keys do not count."""
    return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()


def change_key(content: dict[str, Any], key: str, value: str) -> None:
    """Set a dotted key; tables that are not there are made, so that an unknown one is named by the validation."""
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {key}={value}: {table} is a value, not a table: it has no key of its own")
    try:
        content[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        content[last] = value


def _explain(message: str, recipe_type: type[Frozen]) -> str:
    """msgspec's words, with the nearest known key where one is unknown."""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if not unknown:
        return message
    path = re.search(r"`\$\.?([^`]*)`$", message)
    known: Any = recipe_type
    for step in path.group(1).split(".") if path and path.group(1) else []:
        known = next(f.type for f in msgspec.structs.fields(known) if f.name == step)
    keys = [field.name for field in msgspec.structs.fields(known)]
    near = difflib.get_close_matches(unknown.group(1), keys, 1)
    return f"{message}: did you mean `{near[0]}`?" if near else f"{message}: known keys are {', '.join(keys)}"
