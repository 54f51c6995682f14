"""Reads the power, clocks and temperature of a device while it works, and why it slowed down.

The values of a server's GPU come from nvidia-smi (NVML), those of a Jetson from tegrastats. Nothing is changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from statistics import median
from types import TracebackType

from taemi_edge.bundle.values import Frozen

_FIELDS = ("power.draw", "clocks.sm", "clocks.mem", "temperature.gpu", "clocks_throttle_reasons.active")
#: Bits of NVML's clocks_event_reasons that mean less speed than could be (nvml.h).
_THROTTLING = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


class Sample(Frozen, frozen=True):
    """One reading; None for what the device does not report."""

    power_w: float | None = None
    clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled_by: tuple[str, ...] = ()


class PowerReport(Frozen, frozen=True):
    """Medians and extremes of all readings. `told_by` is the program that gave them; empty where there is none."""

    told_by: str = ""
    samples: int = 0
    median_power_w: float | None = None
    highest_power_w: float | None = None
    median_clock_mhz: float | None = None
    lowest_clock_mhz: float | None = None
    highest_temperature_c: float | None = None
    throttled_by: tuple[str, ...] = ()


class PowerMeter:
    """Reads the device twice a second while the `with` block runs.

    Example:
        >>> with PowerMeter() as meter:
        ...     total = sum(range(1000))
        >>> meter.report().told_by in ("", "nvidia-smi", "tegrastats")
        True
    """

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._told_by = ""

    def __enter__(self) -> PowerMeter:
        smi = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits", "-lms", "500"]
        tegra = ["tegrastats", "--interval", "500"]
        for command, parse in ((tegra, parse_tegrastats), (smi, parse_smi)):
            if shutil.which(command[0]) is None:
                continue
            self._told_by = command[0]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._thread = threading.Thread(
                target=self._read, args=(self._process.stdout, parse), name="power", daemon=True
            )
            self._thread.start()
            break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._thread is not None:
            self._process.terminate()
            self._thread.join()
            self._process.communicate()

    def report(self) -> PowerReport:
        """A summary of what was read so far."""
        return summarise(self._told_by, self._samples)

    def _read(self, lines: Iterable[str], parse: Callable[[str], Sample | None]) -> None:
        self._samples.extend(sample for line in lines if (sample := parse(line)) is not None)


def parse_smi(line: str) -> Sample | None:
    """Read one line of nvidia-smi's CSV, in the order of `_FIELDS`; None for any other line.

    >>> parse_smi("412.31, 1755, 2619, 61, 0x0000000000000004").throttled_by
    ('software power cap',)
    """
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(_FIELDS):
        return None
    power, clock, memory, temperature = (_number(value) for value in values[:4])
    reasons = int(values[4], 16) if values[4].startswith("0x") else 0
    named = tuple(name for bit, name in _THROTTLING.items() if reasons & bit)
    return Sample(
        power_w=power, clock_mhz=clock, memory_clock_mhz=memory, temperature_c=temperature, throttled_by=named
    )


def parse_tegrastats(line: str) -> Sample | None:
    """Read one line of tegrastats (JetPack 5 and later); None for a line without power and clock.

    >>> parse_tegrastats("GR3D_FREQ 62%@[611] gpu@48.5C VDD_IN 7184mW/6890mW EMC_FREQ 3%@2133").clock_mhz
    611.0
    """
    power = re.search(r"\b(?:VDD_IN|VIN_SYS_5V0|VIN) (\d+)mW", line)
    clock = re.search(r"GR3D_FREQ \d+%@\[?(\d+)", line)
    memory = re.search(r"EMC_FREQ \d+%@(\d+)", line)
    temperature = re.search(r"\bgpu@(-?[\d.]+)C", line, re.IGNORECASE)
    if not (power or clock):
        return None
    return Sample(
        power_w=int(power[1]) / 1000 if power else None,
        clock_mhz=float(clock[1]) if clock else None,
        memory_clock_mhz=float(memory[1]) if memory else None,
        temperature_c=float(temperature[1]) if temperature else None,
    )


def summarise(told_by: str, samples: list[Sample]) -> PowerReport:
    """Reduce readings to medians and extremes.

    Args:
        told_by: the program that gave them.
        samples: the readings; none are fine.

    Example:
        >>> summarise("tegrastats", [Sample(power_w=9.0), Sample(power_w=11.0)]).median_power_w
        10.0
    """
    power = [s.power_w for s in samples if s.power_w is not None]
    clock = [s.clock_mhz for s in samples if s.clock_mhz is not None]
    temperature = [s.temperature_c for s in samples if s.temperature_c is not None]
    return PowerReport(
        told_by=told_by if samples else "",
        samples=len(samples),
        median_power_w=median(power) if power else None,
        highest_power_w=max(power, default=None),
        median_clock_mhz=median(clock) if clock else None,
        lowest_clock_mhz=min(clock, default=None),
        highest_temperature_c=max(temperature, default=None),
        throttled_by=tuple(sorted({name for s in samples for name in s.throttled_by})),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
