"""How many cores a process may use: the machine's, those of its affinity mask, those of its control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.runtime import cores
from taemi_edge.runtime.cores import one_of_each_core, usable_cores


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.fixture
def of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed_processors", lambda: list(range(8)))


@pytest.mark.usefixtures("of_eight")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 8, id="nothing is known"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 2, id="version 2"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 8, id="no limit"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1, id="half a core"),
        pytest.param(
            {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3, id="of a group above"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/host/name", "sys/fs/cgroup/cpu.max": "200000 100000"},
            2,
            id="a container that sees its group as the top",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/x\n3:memory:/y",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            4,
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            8,
            id="version 1 without a limit",
        ),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "nonsense 0"}, 8, id="nonsense"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 0"}, 8, id="a period of nothing"),
        pytest.param(
            {
                f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n // 2 * 2}-{n // 2 * 2 + 1}"
                for n in range(8)
            },
            4,
            id="two hardware threads a core",
        ),
    ],
)
def test_cores_that_may_be_used(tmp_path: Path, files: dict[str, str], expected: int):
    assert usable_cores(machine(tmp_path, files)) == expected


def test_one_processor_of_each_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "allowed_processors", lambda: [2, 3, 5])
    siblings = {2: "2-3", 3: "2-3", 5: "4-5"}
    files = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": s for n, s in siblings.items()}
    assert one_of_each_core(machine(tmp_path, files)) == [2, 5]


def test_this_machine_has_some():
    assert usable_cores() >= 1
