"""Whatever this package calls of TensorRT, cuda-bindings and PyCUDA is there in every version, or behind a guard."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformity.packages import ROOT, UNFIT, build_stubs, fetch, pinned, unpack
from tests.conformity.program import meeting_places, read_program

TENSORRT = pinned(["tensorrt-bindings", "tensorrt-cu12-bindings"])
#: The oldest, the first and the last that are typed strongly: every commit meets these, and the nightly run all.
ENDS = [name for name in TENSORRT if name.endswith(("==8.6.1", "==10.3.0", "==11.4.0.106"))]
BETWEEN = [name for name in TENSORRT if name not in ENDS]
CUDA = pinned(["cuda-bindings"])
PYCUDA = pinned(["pycuda"])
RTX = "tensorrt-rtx"

pytestmark = [pytest.mark.network, pytest.mark.once, pytest.mark.skipif(bool(UNFIT), reason=UNFIT)]

#: Guards that one answer is enough for: no version that is known gives the other one.
ONE_ANSWER = {
    "Builder": "an empty folder called tensorrt",
    "FP16": "a TensorRT without either kind of precision flag",
    "EXPLICIT_BATCH": "a TensorRT without either kind of network flag",
    "TF32": "a TensorRT without TF32",
    "PreviewFeature": "a TensorRT before 8.5",
    "set_preview_feature": "a TensorRT before 8.5",
    "builder_optimization_level": "a TensorRT before 8.6",
    "create_timing_cache": "a TensorRT before 8.0",
    "progress_monitor": "a TensorRT with the monitor's class alone",
    "cuEventElapsedTime": "a cuda-bindings that has the newer name alone",
}


#: What a version warns of and never comes to.
NEVER_REACHED = {RTX: ("ITimingCache.serialize warns", "open_times gives no cache there")}


def checked(versions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is found of each version, in processes of their own."""
    command = [sys.executable, "-W", "error", "-m", "tests.conformity.check"]
    done = subprocess.run(command, input=json.dumps(versions), capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def found_of_tensorrt(
    names: Sequence[str], folder: Path, others: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """What is found of versions of TensorRT, and of others after them."""
    pytest.importorskip("ziglang", reason="compiles the stub libraries; in the extra `dev`")
    files = fetched(names)
    majors = {name: name.partition("==")[2].partition(".")[0] for name in names}
    stubs = {major: build_stubs(major, folder / f"stubs-{major}") for major in set(majors.values())}
    versions = [
        {"module": "tensorrt_bindings", "folder": str(unpack([files[n]], folder / n)), "stubs": stubs[majors[n]]}
        for n in names
    ]
    return checked([*versions, *others])


def fetched(names: Sequence[str]) -> dict[str, Path]:
    try:
        return fetch(names)
    except ConnectionError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was found of TensorRT, TensorRT-RTX and cuda-bindings, by version."""
    pytest.importorskip("tensorrt_rtx_libs", reason="in the extra `rtx`")
    folder = tmp_path_factory.mktemp("bindings")
    [pathfinder] = pinned(["cuda-pathfinder"])
    files = fetched([*CUDA, pathfinder])
    others = [{"module": "tensorrt_rtx_bindings", "folder": "", "stubs": []}]
    for name in CUDA:
        place = unpack([files[name], files[pathfinder]], folder / name)
        others.append({"module": "cuda.bindings.driver", "folder": str(place), "stubs": []})
    return dict(zip([*ENDS, RTX, *CUDA], found_of_tensorrt(ENDS, folder, others), strict=True))


@pytest.mark.parametrize("name", [*ENDS, RTX, *CUDA])
def test_what_is_called_is_there(found: dict[str, dict[str, Any]], name: str):
    unreached, _ = NEVER_REACHED.get(name, ("", ""))
    assert [problem for problem in found[name]["problems"] if not unreached or not problem.startswith(unreached)] == []
    least = 20 if name in CUDA else 60
    assert len(found[name]["used"]) > least, "the walk lost its way"


@pytest.mark.nightly
@pytest.mark.parametrize("name", BETWEEN)
def test_what_is_called_is_there_in_between(tmp_path: Path, name: str):
    [result] = found_of_tensorrt([name], tmp_path)
    assert result["problems"] == []
    assert len(result["used"]) > 60, "the walk lost its way"


def test_each_guard_is_tried_both_ways(found: dict[str, dict[str, Any]]):
    said: dict[str, set[bool]] = {}
    for result in found.values():
        for place, answer in result["guards"].items():
            said.setdefault(place.rpartition(":")[2], set()).add(answer)
    assert {place for place, answers in said.items() if len(answers) < 2} == set(ONE_ANSWER)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PYCUDA)
def test_what_is_called_is_in_the_source_of_pycuda(name: str):
    archive = fetched([name])[name]
    [result] = checked([{"module": "pycuda.driver", "folder": str(archive), "stubs": []}])
    assert result["problems"] == []
    assert len(result["used"]) > 40


def test_libraries_are_met_nowhere_else():
    """A module that imports one of them by its name is one of those that are walked."""
    walked = set(read_program().modules)
    assert {name: met for name, met in meeting_places().items() if name not in walked} == {}
