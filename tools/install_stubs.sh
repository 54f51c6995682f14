#!/usr/bin/env bash
# Puts TensorRT's type stubs into .stubs for mypy. Never into .venv: the package leaves an empty `tensorrt` there, and
# `import tensorrt` would then succeed with nothing in it.
set -euo pipefail
cd "$(dirname "$0")/.."

rm -rf .stubs
.venv/bin/python -m pip --disable-pip-version-check install -q --no-deps --target .stubs tensorrt-stubs==10.13.0.35.1
# Generated signatures that are not Python: a parameter called `in`, and one without a default behind some that have one.
sed -i -E 's/\bin: list\[/in_: list[/; s/(power: Weights = None, channel_axis: int)\)/\1 = ...)/' .stubs/tensorrt_bindings/tensorrt.pyi
touch .stubs/.ready
