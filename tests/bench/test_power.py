"""What nvidia-smi and tegrastats print, as figures."""

from __future__ import annotations

import pytest

from taemi_edge.bench.power import PowerMeter, Sample, parse_smi, parse_tegrastats, summarise

#: As JetPack 6.2 prints it on an Orin Nano (developer forum of NVIDIA), with values of our own.
TEGRASTATS = (
    "11-23-2026 08:00:01 RAM 3204/7620MB (lfb 2x4MB) SWAP 0/3810MB CPU [12%@1510,8%@1510,off,off,3%@1510,5%@1510] "
    "EMC_FREQ 21%@2133 GR3D_FREQ 87%@[918] cpu@51.5C soc2@50.4C gpu@53.25C tj@53.25C VDD_IN 9812mW/8120mW "
    "VDD_CPU_GPU_CV 4120mW/3310mW VDD_SOC 2210mW/2100mW"
)


def test_a_line_of_tegrastats():
    assert parse_tegrastats(TEGRASTATS) == Sample(
        power_w=9.812, clock_mhz=918.0, memory_clock_mhz=2133.0, temperature_c=53.25
    )


@pytest.mark.parametrize("line", ["", "RAM 3204/7620MB", "tegrastats: not found"])
def test_other_lines_say_nothing(line: str):
    assert parse_tegrastats(line) is None
    assert parse_smi(line) is None


@pytest.mark.parametrize(
    ("reasons", "named"),
    [
        ("0x0000000000000000", ()),
        ("0x0000000000000001", ()),  # idle
        ("0x0000000000000024", ("software power cap", "software thermal slowdown")),
        ("0x0000000000000048", ("hardware slowdown", "hardware thermal slowdown")),
    ],
)
def test_throttling_is_named(reasons: str, named: tuple[str, ...]):
    sample = parse_smi(f"298.11, 1410, 1593, 71, {reasons}")
    assert sample is not None
    assert (sample.power_w, sample.clock_mhz, sample.temperature_c) == (298.11, 1410, 71)
    assert sample.throttled_by == named


def test_a_device_that_does_not_tell_all():
    sample = parse_smi("[N/A], 1410, [N/A], 40, [N/A]")
    assert sample == Sample(clock_mhz=1410.0, temperature_c=40.0)


def test_readings_are_summed_up():
    samples = [
        Sample(power_w=w, clock_mhz=c, throttled_by=t) for w, c, t in ((10, 900, ()), (30, 600, ("x",)), (20, 800, ()))
    ]
    report = summarise("tegrastats", samples)
    assert (report.median_power_w, report.highest_power_w, report.lowest_clock_mhz) == (20, 30, 600)
    assert (report.samples, report.throttled_by, report.highest_temperature_c) == (3, ("x",), None)


def test_a_machine_that_tells_nothing_is_reported_so(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with PowerMeter() as meter:
        pass
    assert meter.report().told_by == ""
    assert meter.report().samples == 0


def test_the_meter_reads_a_real_process_and_ends_it(monkeypatch, tmp_path):
    """A program that prints what tegrastats prints."""
    fake = tmp_path / "tegrastats"
    fake.write_text(f"#!/bin/sh\nwhile true; do echo '{TEGRASTATS}'; sleep 0.01; done\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with PowerMeter() as meter:
        for _ in range(500):
            if meter.report().samples:
                break
            __import__("time").sleep(0.01)
    assert meter.report().told_by == "tegrastats"
    assert meter.report().median_clock_mhz == 918
