"""Which TensorRT is installed."""

from __future__ import annotations

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.runtime.tensorrt.library import load_library


def test_a_library_that_is_not_installed_is_one_sentence(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UsageError, match="tensorrt cannot be loaded"):
        load_library("tensorrt")
