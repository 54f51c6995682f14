#!/usr/bin/env bash
# What others make of a bundle's ONNX graphs: trtcheck's rules for a TensorRT version, and Polygraphy's own reading.
#
#   tools/second_opinion.sh BUNDLE [TENSORRT]      reports go to runs/second-opinion/; no part of `make test`
#
# Fails where Polygraphy cannot read a graph. trtcheck's findings are for people to weigh: the compiler in the tests
# (tests/engines/test_compiler.py) and parity on a device decide.
set -euo pipefail
cd "$(dirname "$0")/.."
bundle=${1:?usage: tools/second_opinion.sh BUNDLE [8.0|8.6|10.0|10.3]}
version=${2:-8.6}
venv=.venv-opinions
out=runs/second-opinion/$(basename "$bundle")

if [ ! -f "$venv/.ready" ]; then
  tools/make_venv.sh "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check install -q trtcheck==1.1.0 polygraphy==0.53.6 onnx onnxruntime
  touch "$venv/.ready"
fi
mkdir -p "$out"
for graph in "$bundle"/*.onnx; do
  name=$(basename "$graph" .onnx)
  "$venv/bin/polygraphy" inspect model "$graph" --model-type onnx > "$out/$name.polygraphy.txt"
  "$venv/bin/trtcheck" "$graph" --target-trt "$version" --severity warning --format json --force --output "$out/$name.trtcheck.json" > /dev/null || true
  "$venv/bin/python" - "$name" "$out/$name.trtcheck.json" << 'P'
import collections, json, sys
found = collections.Counter((f["severity"], f["category"]) for f in json.load(open(sys.argv[2]))["issues"])
print(f"{sys.argv[1]}: " + (", ".join(f"{n} {s} {c}" for (s, c), n in sorted(found.items())) or "nothing to remark"))
P
done
echo "reports in $out"
