#!/usr/bin/env bash
# Writes requirements/locks: every package that a device installs, with the hashes of its files: tools/lock_device.sh
#   base-cpXXX.txt       the package's own needs, for `packaging/install.sh FOLDER PYTHON base`
#   device-cpXXX.txt     what `packaging/install.sh` installs: those, and the extras pictures, text, serve, mqtt and fleet
#   tensorrt-cpXXX.txt   what the extra `jetpack6` (3.10) or `jetpack7` adds; PyCUDA is built from source on the device
#   build.txt            what builds the package and PyCUDA
#   sbom.txt             what writes the list of all components, `make sbom`
# Each is resolved for x86-64 and for aarch64; where the two differ this stops, since one file serves both. Needs PyPI.
# ONNX Runtime 1.23, the last one for CPython 3.10, names SymPy and coloredlogs among its needs, for tools that nobody
# here calls: 55 MB. They are left out of the locks, so these are installed with `--no-deps`.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
locks=requirements/locks
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$locks"
extras=(--extra pictures --extra text --extra serve --extra mqtt --extra fleet)
never=(--no-emit-package sympy --no-emit-package mpmath --no-emit-package coloredlogs --no-emit-package humanfriendly)

compile() { # compile OUTPUT CPYTHON ARGUMENTS...: resolve for both machines
  local output=$1 version=$2 machine
  shift 2
  rm -f "$work/x86_64" "$work/aarch64"     # uv would keep to the versions of a file that is there
  for machine in x86_64 aarch64; do
    "$uv" pip compile -q --no-header --generate-hashes --no-annotate -c requirements/constraints.txt --only-binary :all: "${never[@]}" \
      --python-version "$version" --python-platform "$machine-manylinux_2_28" -o "$work/$machine" "$@" > /dev/null
  done
  if ! cmp -s "$work/x86_64" "$work/aarch64"; then
    echo "lock_device.sh: x86-64 and aarch64 need different packages on CPython $version:" >&2
    diff "$work/x86_64" "$work/aarch64" >&2 || true
    exit 1
  fi
  { echo "# CPython $version on x86-64 and aarch64. Written by tools/lock_device.sh (make locks)."; cat "$work/x86_64"; } > "$output"
}

pins() { grep -oE '^[a-zA-Z0-9._-]+==[^ ]+' "$1"; }   # pins LOCK: its versions, as constraints

for version in 3.10 3.11 3.12; do
  tag=cp${version/./}
  compile "$locks/device-$tag.txt" "$version" pyproject.toml "${extras[@]}"
  compile "$locks/base-$tag.txt" "$version" pyproject.toml -c <(pins "$locks/device-$tag.txt")
  # JetPack 6, which is CPython 3.10, has a driver that is older than what cuda-bindings 13 wants.
  [ "$version" = 3.10 ] && jetpack=jetpack6 || jetpack=jetpack7
  compile "$work/all.txt" "$version" pyproject.toml --extra "$jetpack" "${extras[@]}" \
    -c <(pins "$locks/device-$tag.txt") --no-binary pycuda
  python3 tools/lock_difference.py "$work/all.txt" "$locks/device-$tag.txt" > "$locks/tensorrt-$tag.txt"
done
printf 'hatchling\nnumpy\nsetuptools\nwheel\n' > "$work/build.in"
compile "$locks/build.txt" 3.10 "$work/build.in"
echo cyclonedx-bom > "$work/sbom.in"
compile "$locks/sbom.txt" 3.10 "$work/sbom.in"
wc -l "$locks"/*.txt
