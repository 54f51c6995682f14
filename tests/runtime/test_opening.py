"""Which device a bundle is opened on."""

from __future__ import annotations

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import UsageError
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.work import Layout


def test_a_bundle_built_for_the_cpu_is_refused_on_tensorrt(tiny: Bundle, tiny_folder, tmp_path):
    target = load_recipe("engines", "cpu", TargetRecipe)
    built = build_engine(tiny_folder, target, "fp32", tmp_path / "cpu").bundle
    with pytest.raises(UsageError, match="--device tensorrt: .* holds ONNX graphs"):
        open_executor(built, Layout(1, 4.0, 0.5), "tensorrt")
