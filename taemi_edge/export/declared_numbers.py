"""Checks of the numbers that a declaration is made of; each mistake is one sentence."""

from __future__ import annotations

from typing import Any

from taemi_edge.errors import ContractError


def require_pair(name: str, value: Any) -> None:
    """Refuse anything but a height and a width in pixels.

    Raises:
        ContractError: it is something else; `name` says what it is.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(isinstance(v, int) and v > 0 for v in value):
        raise ContractError(f"expected {name} as (height, width) in pixels, got {value!r}")


def require_count(name: str, value: Any) -> None:
    """Refuse anything but a whole number from 1.

    Raises:
        ContractError: it is something else; `name` says what it is.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ContractError(f"expected {name} as a whole number from 1, got {value!r}")


def require_positive(name: str, value: Any) -> None:
    """Refuse anything but a number above 0.

    Raises:
        ContractError: it is something else; `name` says what it is.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ContractError(f"expected {name} above 0, got {value!r}")


def require_not_negative(name: str, value: Any) -> None:
    """Refuse anything but a number from 0.

    Raises:
        ContractError: it is something else; `name` says what it is.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ContractError(f"expected {name} from 0, got {value!r}")


def require_chunk(chunk_s: float, rate_hz: float) -> None:
    """Refuse a chunk that is shorter than a sample or a row.

    Raises:
        ContractError: it is.
    """
    if round(chunk_s * rate_hz) < 1:
        raise ContractError(
            f"expected chunk_s of at least {1 / rate_hz:g} s, one of {rate_hz:g} a second, got {chunk_s!r}"
        )
