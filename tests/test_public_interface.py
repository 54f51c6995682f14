"""The public interface of `import taemi_edge`: its names and their signatures. A change of one is seen here."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import pytest

import taemi_edge as te

SIGNATURES: dict[str, str] = {}
#: Names that need PyTorch or onnx.
WORKSHOP = {"bench", "calibrate_bundle", "export_checkpoint"}


def plain_signature(value: object) -> str:
    """A signature without its annotations."""
    signature = inspect.signature(value)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_the_names():
    assert set(te.__all__) == {"__version__", "errors", *SIGNATURES}
    assert set(te.__all__) <= set(dir(te))


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_a_signature(name: str):
    if name in WORKSHOP and (find_spec("torch") is None or find_spec("onnx") is None):
        pytest.skip("PyTorch and onnx are not installed here")
    assert plain_signature(getattr(te, name)) == SIGNATURES[name]
