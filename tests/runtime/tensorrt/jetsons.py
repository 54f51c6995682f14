"""What real Jetson modules say of themselves: their device tree, their release, and their GPU as CUDA sees it.

Devices printed these strings and numbers. Device trees and release lines stand in reports to jetson_stats
(https://github.com/rbonghi/jetson_stats/issues: 476, 711, 864) and in the logs of public repositories; multiprocessors
and memory are what CUDA's deviceQuery and llama.cpp print there. The same module reports other memory under another
kernel, and fewer multiprocessors in a power mode that switches some off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Jetson:
    """One module: what its files hold, byte by byte, and what CUDA answers."""

    model: bytes
    release: str
    gpu: str
    capability: tuple[int, int]
    sm_count: int
    #: As several kernels and releases gave it.
    memory_mib: tuple[int, ...]
    #: What its memory is sold as.
    memory_gb: str

    @property
    def name(self) -> str:
        return self.model.rstrip(b"\0").decode()

    def write(self, root: Path) -> Path:
        """Write its files under a folder that stands for "/"."""
        for place, content in (
            ("proc/device-tree/model", self.model),
            ("etc/nv_tegra_release", self.release.encode()),
        ):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(content)
        return root


def _release(major: int, revision: str, gcid: int, date: str) -> str:
    line = f"# R{major} (release), REVISION: {revision}, GCID: {gcid}, BOARD: generic, EABI: aarch64, DATE: {date}\n"
    return f"{line}# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"


_JETPACK_6_2 = _release(36, "4.3", 38968081, "Wed Jan  8 01:49:37 UTC 2025")
_JETPACK_6_2_1 = _release(36, "4.4", 41062509, "Mon Jun 16 16:07:13 UTC 2025")
_JETPACK_7_0 = _release(38, "2.0", 41844464, "Fri Aug 22 00:55:42 UTC 2025")
_JETPACK_7_2 = _release(39, "2.0", 45755727, "Mon Jun  1 09:28:48 PM UTC 2026")

_AGX_ORIN = b"NVIDIA Jetson AGX Orin Developer Kit\0"
_ORIN_NX = b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0"
_ORIN_NANO = b"NVIDIA Jetson Orin Nano Developer Kit\0"
_ORIN_NANO_SUPER = b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"
_AGX_THOR = b"NVIDIA Jetson AGX Thor Developer Kit\0"

AGX_ORIN_64 = Jetson(_AGX_ORIN, _JETPACK_7_2, "Orin", (8, 7), 16, (62841, 62827), "64")
#: The same module in a power mode that leaves half of its multiprocessors on.
AGX_ORIN_30_W = Jetson(_AGX_ORIN, _JETPACK_7_2, "Orin", (8, 7), 8, (62841,), "64")
AGX_ORIN_32 = Jetson(_AGX_ORIN, _JETPACK_6_2, "Orin", (8, 7), 16, (30623,), "32")
ORIN_NX_16 = Jetson(_ORIN_NX, _JETPACK_6_2_1, "Orin", (8, 7), 8, (15656, 15523, 15388), "16")
ORIN_NANO_8 = Jetson(_ORIN_NANO, _JETPACK_6_2, "Orin", (8, 7), 8, (7620, 7619, 7607), "8")
ORIN_NANO_SUPER = Jetson(_ORIN_NANO_SUPER, _JETPACK_6_2_1, "Orin", (8, 7), 8, (7620,), "8")
AGX_THOR = Jetson(_AGX_THOR, _JETPACK_7_0, "NVIDIA Thor", (11, 0), 20, (125772, 125748, 125517), "128")
JETSONS = (AGX_ORIN_64, AGX_ORIN_30_W, AGX_ORIN_32, ORIN_NX_16, ORIN_NANO_8, ORIN_NANO_SUPER, AGX_THOR)
