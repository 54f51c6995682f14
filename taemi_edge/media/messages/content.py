"""Values of fields that hold bytes or sizes, as the encodings give them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.shapes import Blob, Many, Number, Shape, Text


def is_bytes(shape: Shape | None) -> bool:
    """Whether a field holds bytes; those of JSON are text in base64."""
    is_list = isinstance(shape, Many) and isinstance(shape.item, Number)
    return is_list or isinstance(shape, (Blob, Text))


def bytes_of(value: Any) -> Any:
    """The bytes of a field, as something with a buffer.

    Raises:
        MessageError: it holds no bytes.
    """
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MessageError(f"expected bytes in base64: {error}") from error
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError) as error:
            raise MessageError("expected bytes, got something else") from error
    if not isinstance(value, (bytes, memoryview, np.ndarray)):
        raise MessageError(f"expected bytes, got {value!r:.40}")
    return value


def whole_number(value: Any) -> int:
    """A size.

    Raises:
        MessageError: it is no whole number of 32 bits.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 32 or value % 1:
        raise MessageError(f"expected a size in pixels or bytes, got {value!r:.40}")
    return int(value)
