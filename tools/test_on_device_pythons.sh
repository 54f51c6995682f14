#!/usr/bin/env bash
# Runs the tests without torch, transformers and onnx on the interpreters of devices, CPython 3.10 (JetPack 6) and 3.12
# (JetPack 7), with the versions that aarch64 has there. What needs torch skips itself; bundles come from .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() { # find_python VERSION: an interpreter that really is that version, from the PATH or pyenv
  local candidate
  for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if [ -x "$candidate" ] && "$candidate" -c "import sys, venv; assert '%d.%d' % sys.version_info[:2] == '$1'" 2> /dev/null; then
      echo "$candidate"; return
    fi
  done
}

# What tests/made_once.py has made in `make test` is there already.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundles=${TAEMI_EDGE_TEST_BUNDLES:-$work/bundles}
make_once() { # make_once NAME COMMAND...: run taemi-edge, which writes $bundles/NAME
  [ ! -f "$bundles/$1.ready" ] || return 0
  .venv/bin/taemi-edge "${@:2}" > /dev/null
  touch "$bundles/$1.ready"
}
for recipe in taemi-tiny taemi-mobile; do
  make_once "$recipe" export "$recipe" --output "$bundles/$recipe"
done
make_once corpora/synthetic synth "$bundles/corpora/synthetic" --clips 14 --seed 3
make_once calibrated/taemi-tiny calibrate "$bundles/taemi-tiny" --data "$bundles/corpora/synthetic" \
  --output "$bundles/calibrated/taemi-tiny" --clips 6 --set min_clips=2 --set held_out=3 --set trial_clips=3 \
  --set frames_per_clip=4 --set budget.mean_pearson_drop=2     # labels of three clips tell nothing

pip_in() { "$1/bin/python" -m pip --disable-pip-version-check install -q -c requirements/constraints.txt "${@:2}"; }

test_base() { # test_base VENV: what works without extras; tests/conftest.py needs more, and is left out
  echo "tests without extras on $("$1/bin/python" --version)"
  TAEMI_EDGE_TEST_BUNDLES=$bundles OMP_NUM_THREADS=1 "$1/bin/python" -m pytest -q -c /dev/null --rootdir . --noconftest \
    -p no:cacheprovider tests/test_base_install.py
}

test_on() { # test_on VERSION PYTHON: make its environment where that is needed, then run the tests there
  local venv=.venv-$1
  if [ ! -f "$venv/.ready" ] || [ pyproject.toml -nt "$venv/.ready" ] || [ requirements/constraints.txt -nt "$venv/.ready" ]; then
    rm -rf "$venv"
    packaging/install.sh "$venv" "$2" base > /dev/null
    "$venv/bin/python" benchmarks/install_size.py --folder "$venv" --limit 300
    pip_in "$venv" pytest
    test_base "$venv"
    pip_in "$venv" --no-deps --require-hashes -r "requirements/locks/device-cp${1/./}.txt"   # what the Dockerfile has
    pip_in "$venv" -e '.[plot,robots,synth]' pytest pytest-timeout hypothesis
    # ONNX Runtime for CPython 3.10 names these among its needs; devices do without them, and so do the tests.
    "$venv/bin/python" -m pip --disable-pip-version-check uninstall -q -y sympy mpmath coloredlogs humanfriendly
    touch "$venv/.ready"
  fi
  echo "runtime tests on $("$venv/bin/python" --version), without torch"
  TAEMI_EDGE_TEST_BUNDLES=$bundles "$venv/bin/python" -m pytest -q -p no:cacheprovider -m "not once and not nightly"
}

# Side by side: one interpreter leaves half of two cores idle. Their lines are printed one after the other.
declare -A jobs
for version in 3.10 3.12; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    echo "CPython $version is not on this machine: its runtime tests are left out"
    continue
  fi
  (set -e; test_on "$version" "$python") > "$work/$version.log" 2>&1 &
  jobs[$version]=$!
done
failed=0
for version in "${!jobs[@]}"; do
  wait "${jobs[$version]}" || failed=1
  cat "$work/$version.log"
done
exit "$failed"
