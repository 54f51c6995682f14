"""Timing runs one by one."""

from __future__ import annotations

import numpy as np

from taemi_edge.bench.timed_model import HostRun, WithoutDeviceTimes, time_runs


def test_warm_up_runs_are_not_timed():
    calls: list[int] = []

    def call() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"y": np.zeros(6)}

    times = time_runs(HostRun(call), runs=4, warm_up=3)
    assert (len(calls), len(times.wall), times.device, times.parts) == (7, 4, [], {})


def test_times_of_the_device_and_of_parts_are_kept():
    class Measured(WithoutDeviceTimes):
        number = 0.0

        def run(self) -> None:
            self.number += 1

        def output(self) -> np.ndarray:
            return np.zeros(1)

        def device_ms(self) -> float:
            return self.number

        def parts_ms(self) -> dict[str, float]:
            return {"vision": 10 * self.number}

        def close(self) -> None: ...

    times = time_runs(Measured(), runs=3, warm_up=1)
    assert times.device == [2.0, 3.0, 4.0]
    assert times.parts == {"vision": 30.0}


def test_a_host_run_closes_what_it_uses_and_gives_its_last_outputs():
    closed: list[bool] = []
    run = HostRun(lambda: {"b": np.ones(2), "a": np.zeros(1)}, lambda: closed.append(True))
    run.run()
    assert run.output().tolist() == [0, 1, 1]
    run.close()
    assert closed == [True]
