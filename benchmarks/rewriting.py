"""What rewriting a bundle's graphs for the processor gains, by part and by form, timed in turn in one run.

    python benchmarks/rewriting.py export/taemi-mobile calibration/taemi-mobile

Each graph of each bundle is timed as written and rewritten, both as an engine for the CPU has them, with one thread.
The feeds are the golden ones, the smallest and the largest of each part. The table has medians, their ratio, and how
many nodes ONNX Runtime runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import onnx
import onnxruntime

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.precisions import HOST_FLAVOURS
from taemi_edge.engines.cpu_rewriting import rewrite_for_cpu
from taemi_edge.errors import EngineError
from taemi_edge.parity.golden import golden_cases
from taemi_edge.runtime.onnx_sessions import SLOW_OPTIMISERS, optimise, session_options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=60)
    words = parser.parse_args()
    print("| part | form | feed | as written, ms | rewritten, ms | ratio | nodes |\n|---|---|---|---|---|---|---|")
    for folder in words.bundles:
        bundle = open_bundle(folder)
        for part in bundle.manifest.parts:
            for form, file in _graphs(bundle, part).items():
                _measure(bundle, part, form, file, words.runs)


def _graphs(bundle: Bundle, part: str) -> dict[str, Path]:
    """The files of a part that a processor may run, by their form."""
    named = bundle.manifest.graphs.get(part, {})
    files = {str(form): bundle.folder / named[form] for form in ("fp32", *HOST_FLAVOURS) if form in named}
    return files or {str(bundle.manifest.parts[part].precision): bundle.part_file(part)}


def _measure(bundle: Bundle, part: str, form: str, file: Path, runs: int) -> None:
    source = file.read_bytes()
    try:
        contents = [source, rewrite_for_cpu(source, part)]
    except EngineError as error:
        print(f"| {part} | {form} | - | - | - | - | {error} |")
        return
    with tempfile.TemporaryDirectory() as folder:
        opened = [_opened(content, Path(folder) / f"{number}.onnx") for number, content in enumerate(contents)]
    feeds = sorted(
        (c.feeds for c in golden_cases(bundle) if c.part == part), key=lambda f: sum(v.size for v in f.values())
    )
    for feed in [feeds[0], *feeds[1:][-1:]]:
        times: list[list[float]] = [[], []]
        for _ in range(runs):
            for taken, (session, _) in zip(times, opened, strict=True):
                start = time.perf_counter()
                session.run(None, feed)
                taken.append((time.perf_counter() - start) * 1e3)
        before, after = (statistics.median(taken) for taken in times)
        shape = " ".join("x".join(map(str, value.shape)) for value in feed.values())
        nodes = " to ".join(str(count) for _, count in opened)
        print(
            f"| {part} | {form} | {shape} | {before:.2f} | {after:.2f} | {before / after:.2f} | {nodes} |", flush=True
        )


def _opened(content: bytes, file: Path) -> tuple[onnxruntime.InferenceSession, int]:
    """A session of an optimised graph, and how many nodes it has."""
    optimise(content, file)
    session = onnxruntime.InferenceSession(
        str(file), session_options(1), providers=["CPUExecutionProvider"], disabled_optimizers=list(SLOW_OPTIMISERS)
    )
    return session, len(onnx.load(str(file)).graph.node)


if __name__ == "__main__":
    main()
