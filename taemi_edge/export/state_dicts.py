"""Says why weights do not fit a module: PyTorch lists every name, and a sentence has room for three of a kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHOWN = 3
#: How PyTorch's `load_state_dict` begins what it says.
_BEGINNING = "Error(s) in loading state_dict"
_MISSING = re.compile(r"Missing key\(s\) in state_dict: (.*?)\.? *(?:\n|$)")
_UNEXPECTED = re.compile(r"Unexpected key\(s\) in state_dict: (.*?)\.? *(?:\n|$)")
_SHAPE = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((\[.*?\])\) from checkpoint, the shape in "
    r"current model is torch\.Size\((\[.*?\])\)"
)


def state_dict_problem(said: str) -> str | None:
    """What PyTorch says of weights that do not fit, in one line; None where it says something else.

    Args:
        said: the text of the error.

    Example:
        >>> from torch import nn
        >>> try:
        ...     nn.Linear(2, 3).load_state_dict(nn.Linear(5, 3).state_dict())
        ... except RuntimeError as error:
        ...     print(state_dict_problem(str(error)))
        weights that do not fit Linear: 1 of another shape (weight: [3, 5] for [3, 2])
    """
    if _BEGINNING not in said:
        return None
    module = said.partition("for ")[2].partition(":")[0].strip()
    shapes = [f"{name}: {came} for {wanted}" for name, came, wanted in _SHAPE.findall(said)]
    kinds = (
        names_of("missing", _quoted(_MISSING, said)),
        names_of("unexpected", _quoted(_UNEXPECTED, said)),
        names_of("of another shape", shapes),
    )
    return f"weights that do not fit {module}: {', '.join(filter(None, kinds)) or 'it says no more'}"


def names_of(kind: str, names: Sequence[str]) -> str:
    """How many there are of a kind, and the first three; nothing where there are none.

    >>> names_of("missing", ["a", "b", "c", "d"]), names_of("missing", [])
    ('4 missing (a, b, c, ...)', '')
    """
    if not names:
        return ""
    return f"{len(names)} {kind} ({', '.join([*names[:_SHOWN], *(['...'] if len(names) > _SHOWN else [])])})"


def _quoted(pattern: re.Pattern[str], said: str) -> list[str]:
    found = pattern.search(said)
    return re.findall(r'"([^"]+)"', found.group(1)) if found else []
