"""Transcripts, recipes, the configuration of a live run, and the addresses of sources."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.cli.typed_addresses import without_addresses
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import TaemiError
from taemi_edge.live.capture.addresses import default_name, looks_live, parse_address, split_name
from taemi_edge.live.config import load_live_config
from taemi_edge.media.places import shown_place
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.taemi.recipe import ModelRecipe
from tests.fuzz.harness import SEEDS, Harness, as_file, scratch
from tests.fuzz.mutation.plain import mutate_text
from tests.fuzz.mutation.trees import mutate_json_lines, mutate_toml

_ONLY_ONNX = Path(__file__).parents[3] / "examples" / "only-onnx"


def _transcript(ending: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> None:
        read_transcript(as_file(content, f"talk{ending}"), 10.0)

    return read


def _recipe(kind: Any, of: Any) -> Callable[[bytes], object]:
    def read(content: bytes) -> None:
        load_recipe(kind, str(as_file(content, "recipe.toml")), of)

    return read


def _onnx_model(content: bytes) -> None:
    from taemi_edge.export.onnx_model import load_onnx_model

    model = Path(scratch().name, "only-onnx")
    if not model.is_dir():
        shutil.copytree(_ONLY_ONNX, model)
    load_onnx_model(as_file(content, "only-onnx/model.toml"))


def _live(content: bytes) -> None:
    config = load_live_config(as_file(content, "live.toml"))
    for source in config.source:
        assert all(isinstance(place, str) for place in source.places)
    if config.serve is not None:
        assert 0 <= config.serve.port <= 65_535
        _ = config.serve.is_loopback


def _address(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    _, address = split_name(text)
    looks_live(text)
    default_name(address)
    repr(parse_address(address))


#: Stands for a password in the seeds of the parser `secret`.
_SECRET = b"S3CR3T"

#: What stands in front of it in the seeds: single bytes may be changed to anything else.
_BEFORE = tuple(
    file.read_text(encoding="utf-8").partition(_SECRET.decode())[0] + _SECRET.decode()
    for file in sorted((SEEDS / "secret").glob("*"))
)


def _secret(content: bytes) -> None:
    """What is shown of an address holds no secret."""
    text = content.decode("utf-8", "replace")
    said = []
    try:
        _, address = split_name(text)
        parsed = parse_address(address)
        said = [default_name(address), repr(parsed), parsed.shown]
    except TaemiError as error:
        said = [str(error)]
    said += [shown_place(text), without_addresses(f"{text}: expected a bundle", ["run", text])]
    if text.startswith(_BEFORE):
        assert not [shown for shown in said if _SECRET.decode() in shown], said


def _mutate_behind(content: bytes, chance: random.Random) -> bytes:
    """Change what stands behind the secret: in front of it, a change could make it a host or the name of a file."""
    before, _, after = content.partition(_SECRET)
    return before + _SECRET + mutate_text(after, chance)


def _drop(content: bytes) -> None:
    parse_drop(content.decode("utf-8", "replace"))


HARNESSES = (
    Harness("vtt", _transcript(".vtt"), mutate_text),
    Harness("srt", _transcript(".srt"), mutate_text),
    Harness("txt", _transcript(".txt"), mutate_text, share=0.5),
    Harness("jsonl", _transcript(".jsonl"), mutate_json_lines),
    Harness("recipe-model", _recipe("export", ModelRecipe), mutate_toml),
    Harness("recipe-calibration", _recipe("calibration", CalibrationRecipe), mutate_toml),
    Harness("recipe-engine", _recipe("engines", TargetRecipe), mutate_toml),
    Harness("recipe-onnx", _onnx_model, mutate_toml, needs=("torch", "onnx")),
    Harness("live", _live, mutate_toml),
    Harness("address", _address, mutate_text),
    Harness("secret", _secret, _mutate_behind),
    Harness("drop", _drop, mutate_text, share=0.5),
)
