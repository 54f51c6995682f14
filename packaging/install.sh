#!/usr/bin/env bash
# Installs taemi-edge from this checkout into a virtual environment that sees the system's packages, as JetPack's TensorRT
# and GStreamer's bindings are: packaging/install.sh FOLDER [PYTHON] [EXTRAS]
# The Dockerfiles run this, and so do the tests, on CPython 3.10 (JetPack 6) and 3.12 (JetPack 7).
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
python=${2:-python3}
extras=${3:-serve,mqtt}

"$python" -m venv --system-site-packages "$folder"
"$folder/bin/python" -m pip --disable-pip-version-check install -q -c "$checkout/requirements/constraints.txt" \
  "taemi-edge[$extras] @ file://$checkout"
"$folder/bin/taemi-edge" --version
