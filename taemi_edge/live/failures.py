"""What is logged of an exception that nobody expected: its kind and where it came from.

Its own text is left out. FFmpeg and other libraries repeat in it what they were given, such as an address with its
password.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def failure_of(error: BaseException) -> str:
    """Name an exception and the places that it passed, the innermost last.

    Example:
        >>> try:
        ...     open("/me:secret@nowhere")
        ... except OSError as error:
        ...     failure_of(error)
        'FileNotFoundError in <doctest taemi_edge.live.failures.failure_of[0]>:2'
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} in {places}"
