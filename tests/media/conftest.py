"""Hides OpenCV from a test, as if it were not installed. tests/test_base_install.py has the real thing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from taemi_edge.media.opencv import opencv_if_installed


@contextmanager
def _without_opencv() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "cv2", None)
    opencv_if_installed.cache_clear()
    try:
        yield
    finally:
        patch.undo()
        opencv_if_installed.cache_clear()


@pytest.fixture
def without_opencv() -> Callable[[], AbstractContextManager[None]]:
    """A context in which OpenCV is not installed."""
    return _without_opencv
