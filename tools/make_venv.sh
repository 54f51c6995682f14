#!/usr/bin/env bash
# Makes a virtual environment with pip from the first CPython 3.10 to 3.12 on this machine: tools/make_venv.sh FOLDER
set -euo pipefail
folder=$1

suits() { "$1" -c 'import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2> /dev/null; }

python=
for name in python3 python3.11 python3.12 python3.10; do
  if command -v "$name" > /dev/null && suits "$name"; then python=$name; break; fi
done
if [ -z "$python" ]; then
  echo "make_venv.sh: expected CPython 3.10, 3.11 or 3.12 on the PATH, found none: install one, for example with" \
       "\`sudo apt-get install python3 python3-venv\`" >&2
  exit 2
fi

if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  echo "make_venv.sh: Debian ships venv apart from Python; installing python3-venv with apt-get"
  $sudo apt-get update -q
  $sudo apt-get install -y -q python3-venv
fi
"$python" -m venv "$folder"
"$folder/bin/python" --version
