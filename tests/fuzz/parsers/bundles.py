"""The files of a bundle: each is put into a little bundle whose hashes fit, as whoever can write the folder could."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import (
    GOLDEN,
    MANIFEST,
    TOKENIZER,
    TOKENS,
    Bundle,
    open_bundle,
    read_manifest,
    with_tokens,
)
from taemi_edge.parity.golden import golden_cases
from taemi_edge.runtime.window import open_tools
from tests.fuzz.harness import Harness, scratch
from tests.fuzz.mutation.binary import mutate_archive, mutate_protobuf
from tests.fuzz.mutation.trees import mutate_head, mutate_json

LITTLE = Path(__file__).parents[1] / "little_bundle"


@cache
def _copy() -> Bundle:
    """A copy of the little bundle that inputs are written into."""
    return open_bundle(shutil.copytree(LITTLE, Path(scratch().name, "little")))


@contextlib.contextmanager
def _with(name: str, content: bytes) -> Iterator[Bundle]:
    """The little bundle, opened, with another file and the hash of it; the folder is whole again afterwards."""
    bundle = _copy()
    file = bundle.folder / name
    file.write_bytes(content)
    try:
        digests = {**bundle.digests, name: hashlib.sha256(content).hexdigest()}
        yield replace(bundle, digests=digests, sizes={**bundle.sizes, name: len(content)})
    finally:
        shutil.copyfile(LITTLE / name, file)


def _manifest(content: bytes) -> None:
    with _with(MANIFEST, content) as little:
        _ = read_manifest(little.folder).patterns
        open_tools(open_bundle(little.folder), 1)


def _tokens(content: bytes) -> None:
    with _with(TOKENS, content) as little:
        for token in with_tokens(little).tokens.values():
            assert np.isfinite(token).all()


def _golden(content: bytes) -> None:
    with _with(GOLDEN, content) as little:
        golden_cases(little)


def _tokenizer(content: bytes) -> None:
    with _with(TOKENIZER, content) as little:
        for tokenizer in open_tools(little, 1)[0].tokenizers.values():
            tokenizer.feeds(["so it is", "", "the end of \U0001f600 things" * 4])


def _graph(content: bytes) -> None:
    """A graph that is accepted names no data elsewhere, as ONNX itself reads it."""
    with _with("pulse.onnx", content) as little:
        little.read_part("pulse")
    _require_all_inside(content)


def _require_all_inside(content: bytes) -> None:
    if importlib.util.find_spec("onnx") is None:
        return
    import onnx
    from google.protobuf.message import DecodeError

    with contextlib.suppress(DecodeError):
        assert not _external(onnx.ModelProto.FromString(content)), "data elsewhere"


def _external(message: Any) -> bool:
    """Whether a protobuf message is, or has somewhere in it, a tensor whose data lie elsewhere."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto" and (message.external_data or message.data_location):
        return True
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            inner = value if field.is_repeated else [value]
            if any(_external(one) for one in inner):
                return True
    return False


HARNESSES = (
    Harness("manifest", _manifest, mutate_json, share=2),
    Harness("tokens", _tokens, mutate_head),
    Harness("golden", _golden, mutate_archive),
    Harness("graph", _graph, mutate_protobuf),
    Harness("tokenizer", _tokenizer, mutate_json),
)
