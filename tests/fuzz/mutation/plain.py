"""Changes of bytes and of lines, for text and for whatever has no mutator of its own."""

from __future__ import annotations

import random
import re

#: Numbers that parsers trip over, as they are written in text.
NUMBERS = (
    "0", "-1", "1", "255", "256", "65536", "2147483648", "-2147483649", "9223372036854775807", "18446744073709551616",
    "1e308", "1e-308", "1e999", "-1e999", "1e9", "0.0", "-0.0", "1e-9", "nan", "inf", "-inf", "9" * 400,
    "0" * 400, "1" * 4400, "0x" + "f" * 4400, "12:34:56,789",
)  # fmt: skip
#: Words and signs that parsers trip over.
WORDS = (
    "", " ", "\t", "\n", "\r", "\0", "\x1b[31m", "\u2028", "\u00e9", "\U0001f600", "\ufeff", "\u202e", "%s", "..", "/",
    "../../x", "a" * 300, "&#" + "9" * 4400 + ";", "<" * 600, "-->", ",", ";", '"', "'", "\\",
    "[" * 600, "{" * 600, "=", ":", "@", "?", "#", "NaN", "null", "true",
)  # fmt: skip
#: How often a text becomes long: whoever takes a time that grows with its square is found in this way.
_LONG_SHARE = 0.003
_TOKEN = re.compile(r"[-+]?\d[\d.eE_]*|\w+|[^\w\s]+|\s+")


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Change, add, remove or repeat some bytes."""
    changed = bytearray(content or b"\0")
    at = chance.randrange(len(changed))
    length = min(len(changed) - at, chance.choice((1, 1, 2, 4, 8, 32, 256)))
    match chance.randrange(6):
        case 0:
            changed[at] ^= 1 << chance.randrange(8)
        case 1:
            changed[at : at + length] = chance.randbytes(length)
        case 2:
            del changed[at : at + length]
        case 3:
            changed[at:at] = chance.randbytes(length)
        case 4:
            changed[at:at] = changed[at : at + length] * chance.choice((1, 2, 16))
        case _:
            changed[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
    return bytes(changed)


def mutate_text(content: bytes, chance: random.Random) -> bytes:
    """Change a word, a number or a line of a text; sometimes two, and now and then a word becomes 64 kB of itself."""
    text = content.decode("utf-8", "surrogateescape")
    if chance.random() < _LONG_SHARE:
        word = chance.choice((*WORDS, *_TOKEN.findall(text))) or " "
        at = chance.randrange(len(text) + 1)
        text = text[:at] + word * (60_000 // len(word)) + text[at:]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        text = _changed_lines(text, chance) if chance.random() < 0.3 else _changed_token(text, chance)
    return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "surrogatepass")


def _is_escaped(text: str) -> bool:
    return all(not 0xD800 <= ord(sign) <= 0xDFFF or 0xDC80 <= ord(sign) <= 0xDCFF for sign in text)


def _changed_token(text: str, chance: random.Random) -> str:
    tokens = _TOKEN.findall(text) or [""]
    at = chance.randrange(len(tokens))
    match chance.randrange(5):
        case 0:
            tokens[at] = chance.choice(NUMBERS)
        case 1:
            tokens[at] = chance.choice(WORDS)
        case 2:
            tokens[at] = chance.choice(tokens)
        case 3:
            tokens[at:at] = [chance.choice((*WORDS, *NUMBERS))]
        case _:
            del tokens[at : at + chance.choice((1, 1, 3))]
    return "".join(tokens)


def _changed_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines[at:at] = [chance.choice(lines)] * chance.choice((1, 1, 2, 20))
        case 1:
            del lines[at]
        case 2:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = lines[at].rstrip("\r\n") + chance.choice(("", "\r", "\r\n", "\n\n", "\x0b", "\x85"))
    return "".join(lines)
