"""What a sweep changes: for each key of a recipe some values, or a range from which values are drawn.

`1,2,3` are values, written as in TOML; commas inside of brackets and quotes belong to a value. `1e-4..1e-2` is a range.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, get_origin

import numpy as np

from taemi_edge.bundle.recipe import change_key, recipe_keys
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import UsageError
from taemi_edge.taemi.recipe import ModelRecipe

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?:(log|linear):)?\s*({_NUMBER})\s*\.\.\s*({_NUMBER})")
_WHOLE = re.compile(r"[-+]?\d+")
#: A range that spans this factor is drawn on a logarithmic scale, unless it says otherwise.
LOGARITHMIC_FROM = 10
#: Of what is drawn, so that a value can be read and typed.
_DIGITS = 4


class Axis(Frozen, frozen=True):
    """What a key is set to.

    Attributes:
        key: the dotted key of the recipe.
        texts: its values, as they were written; none for a range.
        span: of a range the low and the high end, which may both be drawn.
        log: of a range, whether its logarithm is drawn uniformly; else the value itself is.
        whole: of a range, whether whole numbers are drawn.
    """

    key: str
    texts: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    log: bool = False
    whole: bool = False

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return self.span is not None or len(self.texts) > 1

    def draw(self, random: np.random.Generator) -> str:
        """Draw a value, written as in TOML."""
        share = float(random.random())
        if self.span is None:
            return self.texts[min(int(share * len(self.texts)), len(self.texts) - 1)]
        low, high = self.span
        end = high + 1 if self.whole else high
        value = math.exp(math.log(low) + share * math.log(end / low)) if self.log else low + share * (end - low)
        if self.whole:
            return str(int(min(max(math.floor(value), low), high)))
        return repr(min(max(float(f"{value:.{_DIGITS}g}"), low), high))


def read_axis(key: str, text: str) -> Axis:
    """Read what a key is set to.

    Args:
        key: a dotted key of the recipe.
        text: values with commas between them, or a range LOW..HIGH; `log:` or `linear:` before a range says how it is
            drawn. Without them a range above 0 that spans a factor of ten or more is drawn by its logarithm.

    Raises:
        UsageError: the recipe has no such key, a value is missing or given twice, or a range cannot be drawn from.

    Example:
        >>> read_axis("fusion.kind", "anchored,concat").texts
        ('anchored', 'concat')
        >>> read_axis("training.learning_rate", "1e-4..1e-2").log, read_axis("fusion.dropout", "0..0.5").log
        (True, False)
    """
    keys = recipe_keys(ModelRecipe)
    _require_key(key, keys)
    if match := _RANGE.fullmatch(text.strip()):
        return _range(key, match, keys.get(key))
    texts = tuple(part.strip() for part in split_values(text))
    if "" in texts:
        raise UsageError(f"--set {key}={text}: expected a value on each side of a comma, got none")
    seen: list[Any] = []
    for one in texts:
        value = _value_of(one)
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in seen):
            raise UsageError(f"--set {key}={text}: expected different values, got {one} twice: each is trained once")
        seen.append(value)
    return Axis(key=key, texts=texts)


def split_values(text: str) -> list[str]:
    """Split at commas, but not at those inside of brackets, braces or quotes.

    Example:
        >>> split_values('["audio", "text"],["text"]'), split_values("'a,b',c")
        (['["audio", "text"]', '["text"]'], ["'a,b'", 'c'])
    """
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        elif sign == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += sign
    return parts


def _range(key: str, match: re.Match[str], kind: Any) -> Axis:
    scale, low, high = match[1], float(match[2]), float(match[3])
    where = f"--set {key}={match[0]}"
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"{where}: expected a range from a lower to a higher number")
    if scale == "log" and low <= 0:
        raise UsageError(f"{where}: expected a low end above 0, which log: needs: leave log: out, or raise the low end")
    whole = kind is int or (kind is not float and bool(_WHOLE.fullmatch(match[2]) and _WHOLE.fullmatch(match[3])))
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{where}: expected whole numbers at both ends, for {key} is a whole number")
    log = scale == "log" or (scale is None and low > 0 and high / low >= LOGARITHMIC_FROM)
    return Axis(key=key, span=(low, high), log=log, whole=whole)


def _require_key(key: str, keys: Mapping[str, Any]) -> None:
    """Refuse a key that the recipe lacks; below a free table, such as an encoder's configuration, any key may be."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        known = ".".join(parts[:end])
        if known in keys:
            if end == len(parts) or get_origin(keys[known]) is dict:
                return
            break
    ends = {known: known.rpartition(".")[2] for known in keys}
    near = [known for known, end in ends.items() if end == parts[-1]]
    near += [known for known in difflib.get_close_matches(key, keys, 2) if known not in near]
    if not near:
        near = [known for end in difflib.get_close_matches(parts[-1], ends.values(), 1) for known in keys
                if ends[known] == end]  # fmt: skip
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "export/*.toml has its keys"
    raise UsageError(f"--set {key}: the recipe has no such key: {hint}")


def _value_of(text: str) -> Any:
    content: dict[str, Any] = {}
    change_key(content, "value", text)
    return content["value"]
