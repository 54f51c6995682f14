"""OpenCV where it is installed: the extra `pictures`, which an installation for a model without pictures does without.

Pictures are read and resized without it too, only slower. Drawing, following a face between detections, and converting
what cameras of robots send need it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from taemi_edge.errors import BackendError, MissingExtraError, first_line


def opencv(purpose: str) -> Any:
    """The module `cv2`.

    Args:
        purpose: what needs it, as the first words of the error's message.

    Raises:
        MissingExtraError: OpenCV is not installed.
        BackendError: it is installed and cannot be loaded.
    """
    found = opencv_if_installed()
    if found is None:
        raise MissingExtraError("opencv-python-headless", "pictures", purpose)
    return found


@cache
def opencv_if_installed() -> Any:
    """The module `cv2`; None where OpenCV is not installed.

    Raises:
        BackendError: it is installed and cannot be loaded.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        if error.name == "cv2":
            return None
        raise _broken(error) from error
    except ImportError as error:
        raise _broken(error) from error
    return cv2


def use_one_thread() -> None:
    """Let OpenCV start no threads, where it is installed: workers that share the cores would wait for each other."""
    cv2 = opencv_if_installed()
    if cv2 is not None:
        cv2.setNumThreads(1)


def _broken(error: ImportError) -> BackendError:
    return BackendError(
        f"expected an OpenCV that works, got {first_line(error)}: run `pip install --force-reinstall "
        "opencv-python-headless`, which needs no library of a desktop"
    )


class OpenCV:
    """Stands for the module `cv2` in modules that draw; OpenCV is imported when its first function is called.

    Args:
        purpose: see `opencv`.

    Example:
        >>> cv2 = OpenCV("drawing a square")
        >>> cv2.LINE_8
        8
    """

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose

    def __getattr__(self, name: str) -> Any:
        found = getattr(opencv(self._purpose), name)
        setattr(self, name, found)  # the next call finds it at once
        return found
