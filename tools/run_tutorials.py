"""Runs the tutorials from beginning to end and writes what their cells give into them.

    python tools/run_tutorials.py                     # all of docs/tutorials/
    python tools/run_tutorials.py own-model int8      # these two

The notebooks are committed with their outputs, and the site shows them as they are. A run takes place in a temporary
folder that looks like a clone of the repository, so nothing of it stays in this tree. Outputs that would differ from
run to run without a reason, such as warnings of libraries, and paths of this machine are refused.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
#: What a tutorial reads of the repository.
READ = ("examples", "export", "calibration", "engines", "packaging", "requirements", "tests")
#: No cell may take longer.
CELL_TIMEOUT_S = 300
#: The pictures are for pages as wide as a phone too, and lie in the repository.
LARGEST_OUTPUT = 150_000
CLONE = "/home/you/taemi-edge"
#: Bold, italic and colours, as a terminal is told of them.
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def notebooks() -> list[Path]:
    """Every tutorial, in the order of their names."""
    return sorted(FOLDER.glob("*.ipynb"))


def run_notebook(path: Path, work: Path) -> Any:
    """Run a tutorial in a folder that looks like a clone, and give the notebook with its new outputs.

    Args:
        path: the notebook; it is not changed.
        work: an empty folder, which gets what the cells write.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    place = work / "docs" / "tutorials"
    place.mkdir(parents=True)
    for name in READ:
        (work / name).symlink_to(ROOT / name)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(place)}},
        record_timing=False,
    )
    with client.setup_kernel(env=_environment(work)):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    for cell in notebook.cells:
        _tidy(cell, work)
    return notebook


def _environment(work: Path) -> dict[str, str]:
    """The commands of this interpreter come first, and so does this tree's package; states and caches are the run's."""
    paths = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "TAEMI_EDGE_CACHE": str(work / "cache"),
        "TAEMI_EDGE_STATE": str(work / "state"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COLUMNS": "100",
    }
    return {**os.environ, **paths}


def _tidy(cell: Any, work: Path) -> None:
    """Keep what a cell says: standard output as one plain text, without the stages on standard error.

    The folder of the run is shown as the clone of a reader.
    """
    cell.metadata.pop("execution", None)
    kept: list[Any] = []
    for output in cell.get("outputs", []):
        output.pop("transient", None)
        if output.output_type != "stream":
            kept.append(output)
            continue
        if output.name == "stderr" and "Warning" not in output.text:
            continue
        if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = STYLES.sub("", output.text).replace(str(work), CLONE)
    if "outputs" in cell:
        cell.outputs = kept


def faults(notebook: Any) -> Iterator[str]:
    """What a reader should not see in a notebook's outputs."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.execution_count is None:
            yield f"cell {number} was not run"
        for output in cell.get("outputs", []):
            shown = str(output)
            if output.output_type == "error":
                yield f"cell {number} failed: {output.ename}"
            if output.output_type == "stream" and output.name == "stderr" and "Warning" in output.text:
                yield f"cell {number} shows a warning of a library: {output.text[:100]!r}"
            if any(place in shown for place in (str(ROOT), str(Path.home()), tempfile.gettempdir() + os.sep)):
                yield f"cell {number} shows a path of this machine"
            if len(shown) > LARGEST_OUTPUT:
                yield f"cell {number} gives {len(shown)} characters"


def kinds(notebook: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The source of each cell, the kinds of what it gave, and exit codes: two runs of one notebook have the same."""
    return [
        (cell.source, tuple(kind for output in cell.get("outputs", []) for kind in _kinds(output)))
        for cell in notebook.cells
    ]


def _kinds(output: Any) -> list[str]:
    if "data" in output:
        return sorted(output.data)
    return [output.get("name", output.output_type), *re.findall(r"^exit \d+$", output.get("text", ""), re.MULTILINE)]


def main() -> None:
    """Run the tutorials that are named, or all, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    for path in [FOLDER / f"{name}.ipynb" for name in options.names] or notebooks():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            notebook = run_notebook(path, Path(work))
        if found := list(faults(notebook)):
            sys.exit(f"{path.name}: {'; '.join(found)}")
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        print(f"{path.name}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
