"""Which names streams and outputs can have, so that nothing else that stands beside them has the same name."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Iterable

from taemi_edge.bundle.limits import MOST_NAME_BYTES
from taemi_edge.bundle.values import END_TO_END, HEAD

#: What files, predictions, samples (`label/OUTPUT`) and `LoadedModel.predict` call something else.
RESERVED_NAMES = (HEAD, END_TO_END, "face", "total", "none", "label", "self", "end_s")
#: What predictions say beside their outputs: no output can have one of these names.
PREDICTION_FIELDS = (
    *("source", "time_s", "window_s", "presence", "age_ms", "latency_ms", "reason", "status", "backend", "model_id"),
    *("outputs", "degraded", "to_json"),
)
#: What predictions say since a later version: outputs of older bundles may have these names, those of new ones not.
LATER_PREDICTION_FIELDS = ("synthetic", "trained_on")
#: The head reads the mask of a stream under its name with this at the end.
MASK_SUFFIX = "_mask"
#: Parts are files by the name of their stream, and file systems end names somewhere.
MOST_CHARACTERS = 64


def name_problem(name: object) -> str | None:
    """Say in words why a stream or an output cannot have a name; None where it can.

    >>> name_problem("2nd camera")
    "expected a name that is a Python identifier, got '2nd camera'"
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        return f"expected a name that is a Python identifier, got {name!r:.80}"
    if name in RESERVED_NAMES:
        return f"expected a name other than {', '.join(RESERVED_NAMES)}, got {name!r}"
    if name.endswith(MASK_SUFFIX):
        return f"expected a name that does not end in {MASK_SUFFIX}, got {name!r}"
    if len(name) > MOST_CHARACTERS:
        return f"expected a name of up to {MOST_CHARACTERS} characters, got {len(name)}: {name[:20]!r}..."
    return None


def model_name_problem(name: str) -> str | None:
    """Say in words why a model cannot have a name; None where it can. Folders and recipes are looked for under it.

    >>> model_name_problem("valve-noises 2"), model_name_problem("../valve")
    (None, "expected a name of a model that is a file name, without a folder, got '../valve'")
    """
    if name in (".", "..") or any(letter in name for letter in "/\\\0"):
        return f"expected a name of a model that is a file name, without a folder, got {name!r:.80}"
    return None


def file_name_problem(name: str) -> str | None:
    """Say in words why a file of a bundle cannot have a name; None where it can. A bundle has no folders in it.

    >>> file_name_problem("text.onnx"), file_name_problem("../secret")
    (None, "expected plain file names, got '../secret'")
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        return f"expected plain file names, got {name!r:.80}"
    if (size := len(name.encode("utf-8"))) > MOST_NAME_BYTES:
        return f"expected file names of up to {MOST_NAME_BYTES} bytes, got {size:,}: {name[:40]!r}..."
    return None


def names_problem(streams: Iterable[object], outputs: Iterable[object]) -> str | None:
    """Say in words why a model cannot have its names; None where it can.

    Args:
        streams, outputs: all names of each.

    Example:
        >>> names_problem(["imu", "IMU"], ["state"])
        "stream: expected names that differ in more than upper and lower case, got 'imu' and 'IMU'"
        >>> names_problem(["imu"], ["time_s"])
        "output: expected another name than 'time_s', which predictions use themselves"
    """
    taken: dict[str, tuple[str, str]] = {}
    for what, names in (("stream", streams), ("output", outputs)):
        for name in names:
            if problem := name_problem(name):
                return f"{what}: {problem}"
            name = str(name)
            if what == "output" and name in PREDICTION_FIELDS:
                return f"output: expected another name than {name!r}, which predictions use themselves"
            other, of = taken.setdefault(unicodedata.normalize("NFKC", name).casefold(), (name, what))
            if (other, of) == (name, what):
                continue
            if other == name:
                return f"output: expected another name than {name!r}, which is a stream"
            return f"{what}: expected names that differ in more than upper and lower case, got {other!r} and {name!r}"
    return None
