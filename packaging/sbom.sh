#!/usr/bin/env bash
# Lists every package of a virtual environment with version, licence and origin (a CycloneDX SBOM, JSON):
# packaging/sbom.sh VENV OUTPUT. What wheels carry inside, such as FFmpeg in PyAV's, is in taemi_edge/assets/NOTICE.md.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1/bin/python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check install -q --require-hashes --only-binary :all: \
  -r "$checkout/requirements/locks/sbom.txt"
"$work/venv/bin/cyclonedx-py" environment --output-reproducible --pyproject "$checkout/pyproject.toml" \
  --output-file "$2" "$1/bin/python"
