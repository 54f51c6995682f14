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

bundles=$(mktemp -d)
trap 'rm -rf "$bundles"' EXIT
for recipe in taemi-tiny taemi-mobile; do
  .venv/bin/taemi-edge export "$recipe" --output "$bundles/$recipe" > /dev/null
done
.venv/bin/taemi-edge synth "$bundles/corpus" --clips 14 --seed 3 > /dev/null
.venv/bin/taemi-edge calibrate "$bundles/taemi-tiny" --data "$bundles/corpus" --output "$bundles/taemi-tiny-calibrated" \
  --clips 6 --set min_clips=2 --set held_out=3 --set trial_clips=3 --set frames_per_clip=4 \
  --set budget.mean_pearson_drop=2 > /dev/null     # labels of three clips tell nothing

test_on() { # test_on VERSION PYTHON: make its environment where that is needed, then run the tests there
  local venv=.venv-$1
  if [ ! -f "$venv/.ready" ] || [ pyproject.toml -nt "$venv/.ready" ] || [ requirements/constraints.txt -nt "$venv/.ready" ]; then
    rm -rf "$venv"
    packaging/install.sh "$venv" "$2" > /dev/null                             # what the Dockerfiles do
    "$venv/bin/python" -m pip --disable-pip-version-check install -q -c requirements/constraints.txt \
      -e '.[plot,synth]' pytest pytest-timeout hypothesis
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
  (set -e; test_on "$version" "$python") > "$bundles/$version.log" 2>&1 &
  jobs[$version]=$!
done
failed=0
for version in "${!jobs[@]}"; do
  wait "${jobs[$version]}" || failed=1
  cat "$bundles/$version.log"
done
exit "$failed"
