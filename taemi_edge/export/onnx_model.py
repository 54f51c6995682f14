"""Reads `model.toml`, which declares a model whose encoders and head exist as ONNX files.

It says what a `taemi_edge.Model` says in Python. Paths are relative to the file.

    name = "machine"
    samples = "samples"                  # a folder of .npz files with arrays STREAM/INPUT
    window = { length_s = 2.0, hop_s = 0.5 }

    [streams.camera]
    kind = "video"                       # or "audio", "text", "series"
    size_hw = [64, 64]                   # and the other arguments of Video
    frames_per_second = 5.0
    encoder = "camera.onnx"
    inputs = { image = "pixels" }        # only where the file's own names differ
    missing = "zeros"                    # or "mean", "mask", numbers, or a .npy file; and, where they are to differ,
                                         # required, min_steps, max_steps, tile, and presence = { ... } of `Stream`

    [head]
    file = "head.onnx"

    [outputs.state]
    kind = "classes"                     # or "regression"
    names = ["still", "moving"]

    [card]                               # and summary, misuse: see `ModelCard`; where left out, the card says so
    licence = "MIT"
    intended_use = "Says whether the machine runs."
    limits = "One machine, by day."
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from taemi_edge.bundle.card_record import ModelCard
from taemi_edge.bundle.recipe import read_toml, recipe_from_mapping
from taemi_edge.bundle.spec import WindowSpec
from taemi_edge.bundle.streams import AUDIO, SERIES, TEXT, VIDEO, PresenceSpec
from taemi_edge.bundle.values import Array, Frozen, Tolerance
from taemi_edge.errors import ContractError, RecipeError
from taemi_edge.export.contract import Model, OnnxFile, Stream
from taemi_edge.export.declared_outputs import Classes, Regression
from taemi_edge.export.kinds import Audio, Kind, Series, Text, Video
from taemi_edge.media.npz_files import read_array, read_arrays

_KINDS: dict[str, type[Any]] = {VIDEO: Video, AUDIO: Audio, TEXT: Text, SERIES: Series}


class HeadFile(Frozen, frozen=True):
    """The head's ONNX file; `inputs` and `outputs` give the contract's names by the file's own, where they differ."""

    file: str
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)


class OutputFile(Frozen, frozen=True):
    """An output; see `Regression` and `Classes`."""

    kind: Literal["regression", "classes"]
    names: tuple[str, ...]
    range: tuple[float, float] | None = None
    gives: Literal["logits", "probabilities"] = "logits"
    exclusive: bool = True
    metrics: tuple[str, ...] = ()


class OnnxModelFile(Frozen, frozen=True):
    """The content of a `model.toml`."""

    window: WindowSpec
    streams: dict[str, dict[str, Any]]
    head: HeadFile
    outputs: dict[str, OutputFile]
    samples: str
    name: str = ""
    metric: str = ""
    tolerances: dict[str, Tolerance] = msgspec.field(default_factory=dict)
    patterns: tuple[tuple[str, ...], ...] = ()
    trained_on: str = ""
    card: ModelCard | None = None


def declares_onnx_files(file: Path) -> bool:
    """Whether a TOML file has a table of streams, and so is not a recipe of another kind."""
    return file.suffix == ".toml" and file.is_file() and isinstance(read_toml(file).get("streams"), dict)


def load_onnx_model(file: Path) -> Model:
    """Read a `model.toml`.

    Raises:
        RecipeError: it is no TOML, or has a wrong key or value.
        ContractError: what it declares cannot work, or a file that it names is not there.
    """
    declared = recipe_from_mapping(read_toml(file), OnnxModelFile, str(file))
    folder = file.parent
    return Model(
        streams={name: _stream(name, dict(given), folder, str(file)) for name, given in declared.streams.items()},
        head=OnnxFile(folder / declared.head.file, inputs=declared.head.inputs, outputs=declared.head.outputs),
        outputs={name: _output(given) for name, given in declared.outputs.items()},
        samples=lambda: read_sample_files(folder / declared.samples),
        window_s=declared.window.length_s,
        hop_s=declared.window.hop_s,
        metric=declared.metric or None,
        tolerances=declared.tolerances or None,
        name=declared.name,
        patterns=declared.patterns,
        trained_on=declared.trained_on,
        card=declared.card,
    )


def read_sample_files(place: Path) -> list[dict[str, Array]]:
    """Read samples from a folder of .npz files, in the order of their names; nothing in them is unpickled.

    Raises:
        ContractError: there is none.
        InputError: one cannot be read.
    """
    files = sorted(place.glob("*.npz")) if os.path.isdir(place) else [place] if place.suffix == ".npz" else []
    if not files:
        raise ContractError(f"{place}: expected a folder with .npz files as samples, found none")
    return [read_arrays(file) for file in files]


def _stream(name: str, given: dict[str, Any], folder: Path, where: str) -> Stream:
    kind = given.pop("kind", None)
    encoder = given.pop("encoder", None)
    if not isinstance(kind, str) or kind not in _KINDS or not isinstance(encoder, str):
        raise RecipeError(
            f"{where}: streams.{name}: expected kind as one of {', '.join(_KINDS)} and encoder as a file, got {kind!r} "
            f"and {encoder!r}"
        )
    file: dict[str, Any] = {
        "file": folder / encoder,
        "inputs": given.pop("inputs", {}),
        "output": given.pop("output", None),
    }
    own: dict[str, Any] = {
        key: given.pop(key) for key in ("required", "min_steps", "max_steps", "tile") if key in given
    }
    missing = given.pop("missing", "zeros")
    if isinstance(missing, str) and missing.endswith(".npy"):
        missing = read_array(folder / missing)
    if isinstance(given.get("size_hw"), list):
        given["size_hw"] = tuple(given["size_hw"])
    if isinstance(given.get("tokenizer"), str):
        given["tokenizer"] = folder / given["tokenizer"]
    if "presence" in given:
        own["presence"] = recipe_from_mapping(given.pop("presence"), PresenceSpec, f"{where}: streams.{name}.presence")
    try:
        made: Kind = _KINDS[kind](**given)
        return Stream(made, OnnxFile(**file), missing=missing, **own)
    except TypeError as error:
        raise RecipeError(f"{where}: streams.{name}: {str(error).partition('__init__() ')[2] or error}") from error
    except ContractError as error:
        raise ContractError(f"{where}: streams.{name}: {error}") from error


def _output(given: OutputFile) -> Regression | Classes:
    if given.kind == "regression":
        return Regression(given.names, given.range, given.metrics)
    return Classes(given.names, given.gives, given.exclusive, given.metrics)
