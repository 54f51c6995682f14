#!/usr/bin/env bash
# Puts NVIDIA's Triton server (2.51, with the Python backend alone) into the user's cache and prints the folder.
#
# The server is in the wheel of nvidia-pytriton. That package is downloaded by hash and unpacked, never installed: it
# asks for a NumPy older than 2. It is for Linux on x86-64 with glibc 2.35 or newer; where it cannot be had this script
# ends with 1 and one line that says why.
#
#     tools/install_triton.sh [FOLDER]      # default: ~/.cache/taemi-edge/triton-2.51
#
# FOLDER then has bin/tritonserver, lib/ (for LD_LIBRARY_PATH) and backends/PYTHON/ for each Python from 3.10 to 3.13.
set -euo pipefail

package=nvidia-pytriton==0.7.0
sha256=21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/taemi-edge/triton-2.51}
here=$(cd "$(dirname "$0")" && pwd)

if [ -x "$folder/bin/tritonserver" ]; then
  echo "$folder"
  exit 0
fi
refuse() {
  echo "install_triton.sh: $1" >&2
  exit 1
}
glibc=$(getconf GNU_LIBC_VERSION 2> /dev/null || echo "no glibc")
[ "$(uname -sm)" = "Linux x86_64" ] || refuse "the server is for Linux on x86-64, and this is $(uname -sm)"
[ "$(printf '%s\n' "glibc 2.35" "$glibc" | sort -V | head -1)" = "glibc 2.35" ] ||
  refuse "the server needs glibc 2.35 or newer, and this machine has $glibc"
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3

mkdir -p "$(dirname "$folder")"
draft=$(mktemp -d "$folder.draft-XXXXXX")
trap 'rm -rf "$draft"' EXIT
echo "$package --hash=sha256:$sha256" > "$draft/requirements.txt"
"$python" -m pip --disable-pip-version-check download -q --no-deps --only-binary :all: --require-hashes \
  --python-version 3.11 -d "$draft" -r "$draft/requirements.txt" > "$draft/pip.log" 2>&1 ||
  refuse "$package cannot be downloaded: $(tail -1 "$draft/pip.log")"

"$python" -m zipfile -e "$draft"/nvidia_pytriton-*.whl "$draft/wheel"
server=$draft/wheel/pytriton/tritonserver
mkdir "$draft/triton"
mv "$server/bin" "$draft/triton/bin"
mv "$draft/wheel/nvidia_pytriton.libs" "$draft/triton/lib"
for version in 3.10 3.11 3.12 3.13; do
  backend=$draft/triton/backends/$version/python
  mkdir -p "$backend"
  cp "$server"/backends/python/* "$server/python_backend_stubs/$version/triton_python_backend_stub" "$backend"
  chmod +x "$backend/triton_python_backend_stub"
done
chmod +x "$draft/triton/bin/tritonserver"
# Whoever comes second finds the folder there, which is as good.
mv -T "$draft/triton" "$folder" 2> /dev/null || [ -x "$folder/bin/tritonserver" ] || refuse "$folder cannot be written"
echo "$folder"
