"""Says what to do with a file or folder of another toolkit that is given where a model or a bundle is expected.

Nothing is unpickled or loaded: a file is known by its first bytes and its ending, an archive by the names inside.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

from taemi_edge.errors import BundleError
from taemi_edge.pages import page

#: No configuration of a model is longer.
_MOST_CONFIG = 1_000_000
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".t7", ".tar", ".weights", ".npz")
_ENGINES = (".engine", ".plan", ".trt")
_OTHERS = {
    ".h5": "Keras", ".hdf5": "Keras", ".keras": "Keras", ".pb": "TensorFlow", ".tflite": "TensorFlow Lite",
    ".pte": "ExecuTorch", ".mlmodel": "Core ML", ".gguf": "llama.cpp", ".xml": "OpenVINO", ".pdmodel": "Paddle",
    ".msgpack": "Flax",
}  # fmt: skip
_CONVERTERS = {"Keras": "tf2onnx", "TensorFlow": "tf2onnx", "TensorFlow Lite": "tf2onnx", "Paddle": "paddle2onnx"}
_ONNX_PAGE = page("how-to/models", "onnx-files-that-exist-already")
_NAME_THEM = f"name them in a TOML file ({_ONNX_PAGE})"
_DECLARE = (
    "`taemi-edge init-model mine` writes mine/model.py as an example, and `taemi-edge export mine/model.py:build`"
)


def foreign_model(source: str | os.PathLike[str]) -> str | None:
    """One sentence on a file or folder of another toolkit, with what to do; None where it is nothing known, or ours.

    Example:
        >>> foreign_model("export/taemi-tiny") is None
        True
    """
    path = Path(source)
    if os.path.isdir(path):
        return _folder(path)
    if not os.path.isfile(path):
        return None
    said = _file(path)
    return None if said is None else f"{path}: expected a model with its streams, got {said}"


def refuse_foreign(source: str) -> None:
    """Refuse a file or folder of another toolkit.

    Raises:
        BundleError: it is one; the message says what to do.
    """
    if problem := foreign_model(source):
        raise BundleError(problem)


def no_bundle_problem(folder: Path, manifest: str) -> str:
    """Why a place is no bundle, where its manifest is not there.

    >>> no_bundle_problem(Path("no/such"), "manifest.json")
    'no/such: expected a bundle (a folder with manifest.json), found nothing'
    """
    if problem := foreign_model(folder):
        return problem
    if str(folder).lower().startswith("oci:"):
        return (
            f"{folder!s:.500}: expected a bundle (a folder with {manifest}), got an address: "
            "run `taemi-edge pull ADDRESS --output DIR` first, and name DIR"
        )
    found = "a file" if os.path.isfile(folder) else "a folder without one" if os.path.isdir(folder) else "nothing"
    return f"{folder!s:.500}: expected a bundle (a folder with {manifest}), found {found}"


def _file(path: Path) -> str | None:
    ending, begins = path.suffix.lower(), _first_bytes(path)
    names = _names_inside(path) if begins.startswith(b"PK") else []
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        return (
            f"a TorchScript module, which does not say which streams it reads: declare it as an encoder or head, "
            f"`torch.jit.load({str(path)!r})` (better: the Python module that it was made of): {_DECLARE} exports it"
        )
    if ending == ".pt2":
        return (
            f"a program of torch.export, which does not say which streams it reads: declare the Python module that it "
            f"was made of: {_DECLARE} exports it"
        )
    if ending == ".onnx":
        return (
            f"one ONNX graph, which does not say which stream it reads: name it in a TOML file, as `encoder = "
            f"{path.name!r}` of a [streams.NAME] or `file = {path.name!r}` of [head], and export that "
            f"({_ONNX_PAGE})"
        )
    if ending in _ENGINES:
        return (
            "an engine of TensorRT, which runs on one GPU and cannot be checked: export the model that it was built "
            "of, and run `taemi-edge build-engine`"
        )
    if ending in _OTHERS:
        kind = _OTHERS[ending]
        way = f"`{_CONVERTERS[kind]}`" if kind in _CONVERTERS else "its own converter, or make it in PyTorch again,"
        return f"a model of {kind}: convert its encoders and head to ONNX with {way} and {_NAME_THEM}"
    if ending == ".safetensors":
        return _weights(path, f"load_file({str(path)!r})", "safetensors")
    if ending in _WEIGHTS or begins.startswith(b"\x80") or any(name.endswith("data.pkl") for name in names):
        return _weights(path, f"torch.load({str(path)!r}, weights_only=True)", "a pickle, which is not opened here")
    return None


def _weights(path: Path, load: str, what: str) -> str:
    return (
        f"weights alone ({what}): declare the model that they belong to: {_DECLARE} exports it once its build() says "
        f"`encoder.load_state_dict({load})`"
    )


def _folder(path: Path) -> str | None:
    if os.path.isfile(path / "saved_model.pb"):
        return (
            f"{path}: expected a model with its streams, got a model of TensorFlow: convert its encoders and head to "
            f"ONNX with `tf2onnx` and {_NAME_THEM}"
        )
    if os.path.isfile(path / "recipe.json") or not os.path.isfile(path / "config.json"):
        return None
    kind = ""
    with suppress(OSError, ValueError, RecursionError), (path / "config.json").open(encoding="utf-8") as file:
        content = json.loads(file.read(_MOST_CONFIG))
        kind = str(content.get("model_type", "")) if isinstance(content, dict) else ""
    if not kind.isascii() or not kind:
        return None
    return (
        f"{path}: expected a model with its streams, got the transformers model {kind:.60}, which is one encoder: "
        f"write architecture = '{kind:.60}' and weights = '{path}' in a recipe, or declare a model that has it as an "
        f"encoder: {_DECLARE} exports it"
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""


def _names_inside(path: Path) -> list[str]:
    """The names in an archive; nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error, OverflowError):
        return []
