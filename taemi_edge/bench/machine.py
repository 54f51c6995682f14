"""The machine of a benchmark, for its report."""

from __future__ import annotations

import os
import sys

import msgspec

from taemi_edge.errors import TaemiError
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.tensorrt.machine import this_machine


def described_machine(device: Device) -> dict[str, str]:
    """The machine that a bundle ran on, with its GPU where that ran it.

    >>> sorted({"cores", "python"} & described_machine("cpu").keys())
    ['cores', 'python']
    """
    try:
        machine = this_machine(with_gpu=device == "tensorrt")
    except TaemiError:
        machine = this_machine(with_gpu=False)
    found: dict[str, str] = {k: v for k, v in msgspec.to_builtins(machine).items() if v}
    return {**found, "cores": str(os.cpu_count()), "python": sys.version.split()[0]}
