"""Changes of values inside JSON and TOML, and of a JSON head in front of bytes, as safetensors has one."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
import sys
from typing import Any

from tests.fuzz.mutation.plain import WORDS, mutate_bytes, mutate_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 65_537, 2**31, 2**63, 2**64, -(2**63), 10**18, 10**300, 10**4200, 0.0, -0.0,
    0.5, 1e9, 1e-9, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), "", [], {}, [[]], [0, 0], [1, 2, 3, 4],
    {"": 0}, _deep(100),
)  # fmt: skip
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def mutate_json(content: bytes, chance: random.Random) -> bytes:
    """Change a value of a JSON text; what is no JSON is changed as a text."""
    try:
        tree = json.loads(content)
        return json.dumps(mutate_tree(tree, chance), ensure_ascii=chance.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    except (ValueError, RecursionError):
        return mutate_text(content, chance)


def mutate_json_lines(content: bytes, chance: random.Random) -> bytes:
    """Change a value in one of several lines of JSON, or the lines."""
    lines = content.split(b"\n")
    if chance.random() < 0.3:
        return mutate_text(content, chance)
    at = chance.randrange(len(lines))
    lines[at] = mutate_json(lines[at], chance)
    return b"\n".join(lines)


def mutate_toml(content: bytes, chance: random.Random) -> bytes:
    """Change a value of a TOML text; what is no TOML is changed as a text."""
    try:
        tree = tomllib.loads(content.decode())
        return to_toml(mutate_tree(tree, chance)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return mutate_text(content, chance)


def mutate_head(content: bytes, chance: random.Random) -> bytes:
    """Change the JSON head of a safetensors file, or the bytes behind it; the length of the head stays right."""
    try:
        length = struct.unpack("<Q", content[:8])[0]
        head, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    except (ValueError, RecursionError, struct.error):
        return mutate_bytes(content, chance)
    if chance.random() < 0.2:
        rest = mutate_bytes(rest, chance)
    else:
        head = mutate_tree(head, chance)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + rest


def mutate_tree(tree: Any, chance: random.Random) -> Any:
    """Change plain values: one is another, is gone, or stands elsewhere as well."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return chance.choice(_VALUES)
        holder, key = chance.choice(places)
        match chance.randrange(8):
            case 0:
                del holder[key]
            case 1:
                other, at = chance.choice(places)
                holder[key] = copy.deepcopy(other[at]) if at in other or isinstance(other, list) else None
            case 2 if isinstance(holder, dict):
                holder[chance.choice(WORDS) + str(key)] = holder.pop(key)
            case 3 if isinstance(holder, list):
                holder[key:key] = [copy.deepcopy(holder[key])] * chance.choice((1, 2, 50))
            case 4 if isinstance(holder[key], str):
                holder[key] = mutate_text(holder[key].encode("utf-8", "replace"), chance).decode("utf-8", "replace")
            case 5 if isinstance(holder[key], int | float):
                holder[key] = _near(holder[key], chance)
            case 6:
                holder[key] = chance.choice(WORDS)
            case _:
                holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return tree


def _near(number: float, chance: random.Random) -> Any:
    if abs(number) > 10**400:
        return 1
    try:
        return chance.choice(
            (number + 1, number - 1, -number, number * 1000, number * 0.001, float(number), str(number))
        )
    except OverflowError:
        return 0


def _places(tree: Any) -> Any:
    """Every place of a value: the dictionary or list that holds it, and its key or index there."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, value in pairs:
            yield holder, key
            if isinstance(value, dict | list):
                waiting.append(value)


def to_toml(tree: Any) -> str:
    """Plain values as TOML, with a line for each key at the top; what has no form in TOML is left out."""
    if not isinstance(tree, dict):
        return f"value = {_inline(tree)}\n"
    return "".join(f"{_key(name)} = {_inline(value)}\n" for name, value in tree.items() if value is not None)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_inline(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "''" if value is None else str(value)
