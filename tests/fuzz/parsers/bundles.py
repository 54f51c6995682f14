"""The files of a bundle: each is put into a little bundle whose hashes fit, as whoever can write the folder could."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.folder import MANIFEST, TOKENIZER, TOKENS, open_bundle
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.golden import load_cases
from taemi_edge.runtime.window import open_tools
from tests.fuzz.harness import SCRATCH, Harness, as_file
from tests.fuzz.mutation.binary import mutate_archive, mutate_protobuf
from tests.fuzz.mutation.trees import mutate_head, mutate_json

LITTLE = Path(__file__).parents[1] / "little_bundle"


@cache
def _copy() -> tuple[tempfile.TemporaryDirectory[str], dict[str, Any]]:
    """A copy of the little bundle that inputs are written into, and its manifest."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=SCRATCH)
    shutil.copytree(LITTLE, folder.name, dirs_exist_ok=True)
    return folder, msgspec.json.decode((LITTLE / MANIFEST).read_bytes())


def _with(name: str, content: bytes) -> Path:
    """The little bundle with another file, and with the hash of it in its manifest."""
    folder, manifest = _copy()
    place = Path(folder.name)
    for file in (MANIFEST, name):
        shutil.copyfile(LITTLE / file, place / file) if file != name else (place / file).write_bytes(content)
    if name != MANIFEST:
        hashes = {**manifest["sha256"], name: hashlib.sha256(content).hexdigest()}
        (place / MANIFEST).write_bytes(msgspec.json.encode({**manifest, "sha256": hashes}))
    return place


def _restored(name: str) -> None:
    folder, _ = _copy()
    shutil.copyfile(LITTLE / name, Path(folder.name, name))


def _manifest(content: bytes) -> None:
    try:
        bundle = open_bundle(_with(MANIFEST, content))
        _ = bundle.manifest.patterns
        open_tools(bundle, 1)
    finally:
        _restored(MANIFEST)


def _tokens(content: bytes) -> None:
    try:
        open_bundle(_with(TOKENS, content))
    finally:
        _restored(TOKENS)


def _graph(content: bytes) -> None:
    """A graph that is accepted names no data elsewhere, as ONNX itself reads it."""
    try:
        open_bundle(_with("pulse.onnx", content)).read_part("pulse")
    finally:
        _restored("pulse.onnx")
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


def _golden(content: bytes) -> None:
    with as_file(content, ".npz") as file:
        load_cases(file)


def _tokenizer(content: bytes) -> None:
    try:
        bundle = open_bundle(_with(TOKENIZER, content))
        for tools in open_tools(bundle, 1):
            for tokenizer in tools.tokenizers.values():
                _used(tokenizer)
    finally:
        _restored(TOKENIZER)


def _used(tokenizer: WordTokenizer) -> None:
    tokenizer.feeds(["so it is", "", "the end of \U0001f600 things" * 4])


HARNESSES = (
    Harness("manifest", _manifest, mutate_json, share=2),
    Harness("tokens", _tokens, mutate_head),
    Harness("golden", _golden, mutate_archive),
    Harness("graph", _graph, mutate_protobuf),
    Harness("tokenizer", _tokenizer, mutate_json),
)
