#!/usr/bin/env bash
# Builds engines on this GPU, runs the runtime's tests on them and times them beside PyTorch and ONNX Runtime:
# `make gpu-evidence` writes benchmarks/<gpu>-bench-{base,base-16,mobile,mobile-16}.json and -tests.txt.
#
#   PYTHON         has TensorRT, PyCUDA, cuda-bindings and pytest; default .venv/bin/python
#   RIVALS_PYTHON  has PyTorch and onnxruntime-gpu, and exports; default the same
#   TARGET         changes of the target, such as 'optimisation_level=2'; separated by semicolons
#
# taemi-base has random weights, so that no hub is needed: its times are those of the real ones. taemi-mobile is left out
# where its weights are not installed. Engines are built one after another: side by side they share the GPU and take
# several times as long. With an empty engine cache on an H100 count on half an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
rivals=${RIVALS_PYTHON:-$python}
work=runs/gpu-evidence
command -v nvidia-smi > /dev/null || { echo "gpu_evidence.sh: expected an NVIDIA GPU, found no nvidia-smi: run this where one is" >&2; exit 2; }
mkdir -p "$work/graphs"
name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | sed 's/NVIDIA //; s/ .*//' | tr '[:upper:]' '[:lower:]')
changes=()
while read -r -d ';' change; do changes+=(--set "$change"); done <<< "${TARGET:+$TARGET;}"

export_graphs() { # RECIPE FLAGS...
  [ -f "$work/graphs/$1/manifest.json" ] || "$rivals" -m taemi_edge export "$1" -o "$work/graphs/$1" "${@:2}"
}
build() { # RECIPE SOURCES OUTPUT; one that parity fails is timed all the same, and its manifest says so
  "$python" -m taemi_edge build-engine "$work/graphs/$1" --target tensorrt --precision fp16 --sources "$2" \
    -o "$work/$3" "${changes[@]}" || [ -f "$work/$3/manifest.json" ]
}
bench() { # ENGINES ARGUMENTS...
  "$python" -m taemi_edge bench "$work/$1" --json "benchmarks/$name-bench-$1.json" --rivals-python "$rivals" --unverified "${@:2}"
}

export_graphs taemi-tiny
export_graphs taemi-base --random-weights
mobile=1
export_graphs taemi-mobile || mobile=

tests=$work/test-graphs
mkdir -p "$tests"
ln -sfn "$PWD/$work/graphs/taemi-tiny" "$tests/taemi-tiny"
TAEMI_EDGE_GPU_BUNDLES=$tests TAEMI_EDGE_GPU_TARGET=${TARGET:-} \
  "$python" -m pytest -q tests/gpu/test_runtime.py 2>&1 | tee "benchmarks/$name-tests.txt"

rival=(--against onnxruntime-cuda --against torch-eager --against torch-compile)
build taemi-base 1 base && bench base "${rival[@]}" --batch vision=16 --sources 1,4
build taemi-base 16 base-16 && bench base-16 --against none --batch vision=24 --sources 1,2,4,8,16
if [ -n "$mobile" ]; then
  build taemi-mobile 1 mobile && bench mobile "${rival[@]}" --batch vision=16 --sources 1,4
  build taemi-mobile 16 mobile-16 && bench mobile-16 --against none --batch vision=24 --sources 1,2,4,8,16
fi
