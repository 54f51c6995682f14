"""Builds a bundle's engines on this GPU in every precision, checks and times them, and writes the results as JSON.

    python benchmarks/engines.py BUNDLE... --output benchmarks/<gpu>-engines.json [--set KEY=VALUE...]

Parts come from the engine cache where they were built before (`build_s` is then the time that building took); parity
and times are always of this run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.precisions import PRECISIONS, RequestedPrecision
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines.build import BuildResult, build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import TaemiError
from taemi_edge.progress import SilentProgress

#: Each is tried; what a library, a GPU or a bundle does not have is told in one sentence and takes no time.
ASKED: tuple[RequestedPrecision, ...] = (*PRECISIONS, "auto")


class _PartsCache(EngineCache):
    """The engine cache without whole bundles: each is put together and checked anew."""

    def read_bundle(self, key: str) -> None:
        return None

    def write_bundle(self, key: str, bundle: Path) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--target", default="tensorrt")
    parser.add_argument("--precision", action="append", choices=ASKED)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    words = parser.parse_args()
    changes = dict(pair.split("=", 1) for pair in words.set)
    target = load_recipe("engines", words.target, TargetRecipe, changes)
    report: dict[str, Any] = {"models": {}}
    for bundle in words.bundles:
        for precision in words.precision or ASKED:
            name, found = _measure(bundle, target, precision)
            print(bundle, precision, found.get("verified"), found.get("failure", ""), flush=True)
            report["models"].setdefault(name, {})[precision] = found
            write_report(words.output, report, "tensorrt", gpu=True)


class _PrintedStages(SilentProgress):
    """Prints each stage as a line."""

    def stage(self, text: str) -> None:
        print(text, flush=True)


def _measure(bundle: Path, target: TargetRecipe, precision: RequestedPrecision) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            built = build_engine(
                bundle,
                target,
                precision,
                Path(folder) / "engines",
                cache=_PartsCache(),
                progress=_PrintedStages(),
            )
        except TaemiError as error:
            return bundle.name, {"verified": False, "failure": str(error)}
        return built.bundle.manifest.name, _figures(built)


def _figures(built: BuildResult) -> dict[str, Any]:
    record = msgspec.to_builtins(built.record)
    manifest = built.bundle.manifest
    return {
        "verified": manifest.verified,
        "failure": record["failure"],
        "library": record["library"],
        "machine": record["machine"],
        "flags": record["flags"],
        "random_weights": "random" in str(manifest.provenance.weights),
        "parts": record["candidates"],
        "parity": record["verification"],
    }


if __name__ == "__main__":
    main()
