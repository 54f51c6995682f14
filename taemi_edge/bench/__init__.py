"""Timing a bundle beside PyTorch and ONNX Runtime, each contender in a process of its own.

`taemi_edge.bench(...)` is `run_bench`. This package has the same name, and Python puts a package that was
imported in the place of anything else of its name: so the package itself can be called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from taemi_edge.progress import SILENT, Progress

if TYPE_CHECKING:
    from taemi_edge.bench.options import BenchOptions
    from taemi_edge.bench.report import BenchReport


class _CallableModule(ModuleType):
    def __call__(
        self, folder: Path | str, options: BenchOptions | None = None, command: str = "", progress: Progress = SILENT
    ) -> BenchReport:
        """See `taemi_edge.bench.compare.run_bench`."""
        from taemi_edge.bench.compare import run_bench

        return run_bench(folder, options, command, progress)


sys.modules[__name__].__class__ = _CallableModule
