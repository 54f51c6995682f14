#!/usr/bin/env bash
# Installs PyTorch into a virtual environment: tools/install_torch.sh FOLDER [VERSION]
# PyPI's wheels bring NVIDIA's CUDA libraries, gigabytes that a machine without an NVIDIA GPU has no use for. There,
# PyTorch's own wheels for processors are taken, where their index answers within seconds; else it is said what comes.
# Of that index nothing but the package torch is taken: what torch needs comes with the rest, from PyPI. Who has told
# pip of another index than PyPI gets PyTorch from there, as everything else. TORCH_CPU_INDEX names a mirror.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1/bin/python
version=${2:-$(sed -n 's/^torch==//p' requirements/constraints.txt)}
index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}
wanted=torch==$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -v '^torch==' requirements/constraints.txt > "$work/constraints.txt"

pip() { "$python" -m pip --disable-pip-version-check "$@"; }
# With the index alone: pip adds further indexes of a configuration, and an empty setting would not hide them.
pip_of_index() { PIP_EXTRA_INDEX_URL=$index PIP_FIND_LINKS=$work pip "$@" --index-url "$index"; }
say() { echo "install_torch.sh: $*" >&2; }

is_installed() {
  "$python" - "$version" << 'END' 2> /dev/null
import sys
from importlib.metadata import version
raise SystemExit(version("torch").partition("+")[0] != sys.argv[1])
END
}
has_gpu() { nvidia-smi -L > /dev/null 2>&1 || [ -e /proc/driver/nvidia/version ] || [ -e /etc/nv_tegra_release ]; }
# Whether pip was told, by its configuration or in the environment, where packages come from.
has_own_index() { pip config list 2> /dev/null | grep -E '\.(index-url|no-index)=' > /dev/null; }
# Whether the index has this version; one that hangs, refuses or lacks it costs seconds.
index_answers() {
  timeout 15 "$python" -m pip --disable-pip-version-check --timeout 4 --retries 0 index versions torch \
    --index-url "$index" 2> /dev/null | grep -E "(^|[ ,])${version//./\\.}(\+|,|$)" > /dev/null
}
# What pip would install that is NVIDIA's; pip before 23.2 would have to fetch the wheels to know, and is not asked.
cuda_packages() {
  "$python" -c 'import pip; raise SystemExit(tuple(map(int, pip.__version__.split(".")[:2])) < (23, 2))' || return 0
  timeout 60 "$python" -m pip --disable-pip-version-check -q install --dry-run --report "$work/report.json" "$wanted" \
    -c "$work/constraints.txt" > /dev/null 2>&1 || return 0
  "$python" - "$work/report.json" << 'END'
import json, sys
names = [each["metadata"]["name"] for each in json.load(open(sys.argv[1]))["install"]]
print(sum(name.replace("_", "-").startswith(("nvidia-", "cuda-", "triton")) for name in names))
END
}

if is_installed; then exit 0; fi
if ! has_gpu && ! has_own_index; then
  if PIP_EXTRA_INDEX_URL=$index PIP_FIND_LINKS=$work index_answers; then
    say "no NVIDIA GPU is here: PyTorch's wheel for processors is taken from $index"
    if pip_of_index install -q --no-deps "$wanted"; then exit 0; fi
    say "$index has not given its wheel: PyPI is asked instead"
  else
    say "no NVIDIA GPU is here, and $index does not answer: PyPI is asked for PyTorch instead"
  fi
  many=$(cuda_packages)
  if [ "$many" != 0 ]; then
    say "PyPI's PyTorch brings ${many:+$many packages with }NVIDIA's CUDA libraries: about 3 GB are fetched, and the" \
        "environment takes 5.8 GB; to stop, press Ctrl-C; to go without them, set TORCH_CPU_INDEX to a mirror of" \
        "PyTorch's wheels for processors"
  fi
fi
pip install -q "$wanted" -c "$work/constraints.txt"
