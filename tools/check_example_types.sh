#!/usr/bin/env bash
# Checks the types of each example by itself: several of them have a model.py, which one run of mypy does not take.
set -euo pipefail
cd "$(dirname "$0")/.."
for folder in examples/*/; do
  .venv/bin/mypy --no-error-summary "$folder"*.py || failed=1
done
exit "${failed:-0}"
