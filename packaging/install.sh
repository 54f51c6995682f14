#!/usr/bin/env bash
# Installs taemi-edge from this checkout into a virtual environment that sees the system's packages, as JetPack's TensorRT
# and GStreamer's bindings are: packaging/install.sh FOLDER [PYTHON] [base|tensorrt]
# Every package is one of requirements/locks, and its hash is checked; `make locks` writes those files. With `base`, the
# extras pictures, text, serve, mqtt and fleet are left out. With `tensorrt`, PyCUDA is built from source, which needs
# CUDA's headers and a compiler.
# The Dockerfile runs this, and so do the tests, on CPython 3.10 (JetPack 6) and 3.12 (JetPack 7).
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
locks=$checkout/requirements/locks
folder=$1
python=${2:-python3}
with=${3:-}

tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
if [ ! -f "$locks/device-$tag.txt" ]; then
  echo "install.sh: expected CPython 3.10, 3.11 or 3.12, got $("$python" --version): name another one as second argument" >&2
  exit 2
fi
case $with in
  "" | tensorrt) packages=device ;;
  base) packages=base ;;
  *) echo "install.sh: expected nothing, base or tensorrt as third argument, got $with" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip() { "$1/bin/python" -m pip --disable-pip-version-check "${@:2}"; }

"$python" -m venv "$work/build"
pip "$work/build" install -q --require-hashes --only-binary :all: -r "$locks/build.txt"
pip "$work/build" wheel -q --no-deps --no-build-isolation -w "$work" "$checkout"

"$python" -m venv --system-site-packages "$folder"
pip "$folder" install -q --no-deps --require-hashes --only-binary :all: -r "$locks/$packages-$tag.txt"
if [ "$with" = tensorrt ]; then
  pip "$work/build" wheel -q --no-deps --no-build-isolation --require-hashes -w "$work/tensorrt" -r "$locks/tensorrt-$tag.txt"
  pip "$folder" install -q --no-deps --no-index "$work"/tensorrt/*.whl
fi
pip "$folder" install -q --no-deps --no-index "$work"/taemi_edge-*.whl
"$folder/bin/taemi-edge" --version
