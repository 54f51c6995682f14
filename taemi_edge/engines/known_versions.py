"""What is known of versions: what each JetPack brings, and which versions of TensorRT compute wrong, with sources.

`doctor` reads it, `build-engine` warns of what applies to a build and works around what can be worked around, and a
parity that failed names what may be the cause. docs/reference/versions.md shows the same tables to people; a test
compares them.
How TensorRT is called never follows from here: the library itself is asked for that (`runtime/tensorrt/library.py`).

What is empty is not known: nothing here is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from taemi_edge.bundle.values import Frozen
from taemi_edge.pages import SITE, page

#: Myelin, the compiler inside TensorRT, reads its flags from here; NVIDIA's own builder sets it, too.
MYELIN_FLAGS = "__LUNOWUD"

_NVIDIA = "https://developer.nvidia.com/embedded"
_GITHUB = "https://github.com"
_RELEASE_11_4_1 = "https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/release-notes-11/11.4.1.html"
_EDGE_LLM_MATRIX = "https://nvidia.github.io/TensorRT-Edge-LLM/0.11.1/user_guide/getting_started/support-matrix.html"
_TORCH_TENSORRT = "https://docs.pytorch.org/TensorRT/getting_started/jetpack.html"
_BSP_TABLE = f"{_GITHUB}/Astute-Systems/bsp/releases/tag/v1.4.0"


class JetPack(Frozen, frozen=True):
    """One release of JetPack.

    Attributes:
        l4t: the Jetson Linux that it came with, such as "36.4.3".
        tensorrt, cuda, python: what it brings.
        devices: the modules that it is for, in words.
        sources: addresses.
    """

    version: str
    l4t: str
    tensorrt: str
    cuda: str
    python: str
    devices: str
    sources: tuple[str, ...]


JETPACKS = (
    JetPack(
        version="6.0 DP",
        l4t="36.2",
        tensorrt="",
        cuda="",
        python="",
        devices="Orin",
        sources=(f"{_GITHUB}/rbonghi/jetson_stats/issues/476",),
    ),
    JetPack(
        version="6.0",
        l4t="36.3",
        tensorrt="8.6",
        cuda="12",
        python="3.10",
        devices="Orin",
        sources=(
            f"{_GITHUB}/pytorch/TensorRT/issues/3049",
            f"{_GITHUB}/balena-os/jetson-flash/issues/159",
            _BSP_TABLE,
        ),
    ),
    JetPack(
        version="6.1",
        l4t="36.4",
        tensorrt="10.3",
        cuda="12.6",
        python="3.10",
        devices="Orin",
        sources=("https://docs.pytorch.org/TensorRT/v2.6.1/getting_started/jetpack.html", _BSP_TABLE),
    ),
    JetPack(
        version="6.2",
        l4t="36.4.3",
        tensorrt="10.3",
        cuda="12.6",
        python="3.10",
        devices="Orin",
        sources=(_TORCH_TENSORRT, f"{_GITHUB}/pytorch/TensorRT/pull/3453", _BSP_TABLE),
    ),
    JetPack(
        version="6.2.1",
        l4t="36.4.4",
        tensorrt="10.3.0",
        cuda="12.6",
        python="3.10",
        devices="Orin",
        sources=(f"{_GITHUB}/unslothai/unsloth/issues/3113", _BSP_TABLE),
    ),
    JetPack(
        version="6.2.2",
        l4t="36.5",
        tensorrt="",
        cuda="12",
        python="",
        devices="Orin",
        sources=(f"{_GITHUB}/Vortiago/Finetuning/issues/8",),
    ),
    JetPack(
        version="7.0",
        l4t="38.2",
        tensorrt="10.13.3",
        cuda="13.0",
        python="3.12",
        devices="Thor",
        sources=(
            f"{_NVIDIA}/jetpack/downloads/archive-7.0.md",
            f"{_GITHUB}/NVIDIA/TensorRT/issues/4590",
            f"{_GITHUB}/rbonghi/jetson_stats/issues/711",
        ),
    ),
    JetPack(
        version="7.1",
        l4t="38.4",
        tensorrt="10.13.3.9",
        cuda="13.0",
        python="3.12",
        devices="Thor",
        sources=(f"{_NVIDIA}/jetpack/downloads/archive-7.1.md", f"{_GITHUB}/rbonghi/jetson_stats/issues/820"),
    ),
    JetPack(
        version="7.2",
        l4t="39.2.0",
        tensorrt="10.16.2",
        cuda="13.2",
        python="3.12",
        devices="Orin, Thor",
        sources=(
            f"{_GITHUB}/NVIDIA-ISAAC-ROS/isaac-ros-cli/issues/22",
            f"{_GITHUB}/OE4T/meta-tegra/pull/2224",
            f"{_GITHUB}/rbonghi/jetson_stats/issues/864",
        ),
    ),
    JetPack(
        version="7.2.1",
        l4t="39.2.1",
        tensorrt="",
        cuda="13.2",
        python="",
        devices="Orin, Thor",
        sources=(_EDGE_LLM_MATRIX, f"{_GITHUB}/rbonghi/jetson_stats/issues/902"),
    ),
    JetPack(
        version="7.2.2",
        l4t="",
        tensorrt="11.4.1 can be installed on AGX Orin and Thor",
        cuda="13.2",
        python="",
        devices="Orin, Thor",
        sources=(_EDGE_LLM_MATRIX, _RELEASE_11_4_1),
    ),
)


class Trouble(Frozen, frozen=True):
    """What some versions of TensorRT are known to do wrong.

    Attributes:
        since, until: the first version that was seen with it, and the first that is not meant; "" for no end.
        sms: the compute capabilities that it was seen on; empty for all.
        precisions: those that it was seen in; empty for all.
        largest_batch: it was seen in engines whose largest batch is no larger; 0 for all.
        what: one sentence without an end, after the name of the library.
        advice: what can be done.
        sources: addresses.
        stops: whether no engine can be built at all.
        early: whether a build is told of it before it starts; else only where parity failed.
        myelin: the flags for TensorRT's compiler that avoid it; "" for none.
    """

    since: str
    until: str
    what: str
    advice: str
    sources: tuple[str, ...]
    sms: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    largest_batch: int = 0
    stops: bool = False
    early: bool = False
    myelin: str = ""

    @property
    def reference(self) -> str:
        """The first source in short, such as "NVIDIA/TensorRT#4723"."""
        place = self.sources[0].removeprefix(f"{_GITHUB}/")
        if place.startswith(SITE):
            return place
        return re.sub(r"/(issues|pull)/", "#", place)


TROUBLES = (
    Trouble(
        since="8.6.0",
        until="8.6.1",
        precisions=("fp32",),
        what="builds ViT-B/16 wrongly in FP32; FP16 is right",
        advice="build that part in FP16",
        sources=(page("evidence/engines", "on-an-h100"),),
    ),
    Trouble(
        since="10.3",
        until="10.4",
        precisions=("fp16",),
        what="gave wrong outputs of a ViT-B/16 in FP16, where 8.6.1 gave right ones",
        advice="keep such a part in FP32 or INT8 if parity fails",
        sources=(f"{_GITHUB}/NVIDIA/TensorRT/issues/4723",),
    ),
    Trouble(
        since="10.4",
        until="10.5",
        what="gave wrong outputs of a ViT-B/16 in FP32, and NaN in FP16",
        advice="install another version of TensorRT if parity fails",
        sources=(f"{_GITHUB}/NVIDIA/TensorRT/issues/4742",),
    ),
    Trouble(
        since="10.13.3",
        until="10.13.4",
        sms=("8.7",),
        what="has no code for compute capability 8.7 (Jetson Orin)",
        advice="install the TensorRT of your JetPack; JetPack 7.2 has 10.16.2",
        sources=(f"{_GITHUB}/NVIDIA-ISAAC-ROS/isaac-ros-cli/issues/22",),
        stops=True,
        early=True,
    ),
    Trouble(
        since="10.13",
        until="10.15",
        largest_batch=1,
        what="fuses the layers for query, key and value wrongly where the largest batch is 1 (seen on Thor)",
        advice="build-engine turns that fusion off, as NVIDIA's own builder does; larger batches are not affected",
        sources=(
            f"{_GITHUB}/NVIDIA/TensorRT-Edge-LLM/issues/151",
            f"{_GITHUB}/NVIDIA/TensorRT-Edge-LLM/issues/105",
        ),
        early=True,
        myelin="-peep:fc_h_fusion=off",
    ),
    Trouble(
        since="10.16.1",
        until="10.16.2",
        sms=("12.0",),
        precisions=("fp16", "bf16"),
        what="computes fused attention of a ViT wrongly in FP16 and BF16 on compute capability 12.0",
        advice="keep such a part in FP32 if parity fails",
        sources=(f"{_GITHUB}/NVIDIA/TensorRT/issues/4837",),
        early=True,
    ),
)

#: The lowest JetPack and the devices of it that TensorRT 11 supports, from 11.4.1 on.
_TENSORRT_11_JETPACK, _TENSORRT_11_FIRST = "7.2.2", "11.4.1"


def known_troubles(
    version: str, sm: str = "", precision: str = "", largest_batch: int | None = None
) -> Iterator[Trouble]:
    """Give what is known to be wrong with a version of TensorRT.

    Args:
        version: such as "10.13.3.9".
        sm: the compute capability of the GPU; "" where it is not known.
        precision: "" or "auto" for all.
        largest_batch: of the engine; None where it is not known.

    Example:
        >>> [trouble.reference for trouble in known_troubles("10.13.3.9", sm="8.7", largest_batch=4)]
        ['NVIDIA-ISAAC-ROS/isaac-ros-cli#22']
        >>> [trouble.reference for trouble in known_troubles("10.3.0.30")]
        ['NVIDIA/TensorRT#4723']
        >>> list(known_troubles("10.16.2.10", sm="8.7"))
        []
    """
    for trouble in TROUBLES:
        here = version_tuple(trouble.since) <= version_tuple(version)
        here &= not trouble.until or version_tuple(version) < version_tuple(trouble.until)
        here &= not sm or not trouble.sms or sm in trouble.sms
        here &= precision in ("", "auto") or not trouble.precisions or precision in trouble.precisions
        here &= largest_batch is None or not trouble.largest_batch or largest_batch <= trouble.largest_batch
        if here:
            yield trouble


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack that came with a release of Jetson Linux; the last one before it in the same series.

    >>> [(jetpack_of(l4t) or JETPACKS[0]).version for l4t in ("36.4.0", "36.4.3", "36.4.7", "38.2.1", "39.2.0")]
    ['6.1', '6.2', '6.2.1', '7.0', '7.2']
    >>> jetpack_of("35.4.1"), jetpack_of("38.3"), jetpack_of("40.0")
    (None, None, None)
    """
    found = version_tuple(l4t)
    same = [j for j in JETPACKS if j.l4t and version_tuple(j.l4t)[:2] == found[:2] and version_tuple(j.l4t) <= found]
    return max(same, key=lambda jetpack: version_tuple(jetpack.l4t), default=None)


def tensorrt_11_on(jetpack: str, device: str) -> Literal["yes", "no", "jetpack"]:
    """Whether TensorRT 11 supports a Jetson: "jetpack" where it would with a newer JetPack.

    Args:
        jetpack: its version, such as "7.2.2".
        device: the model in its device tree.

    Example:
        >>> tensorrt_11_on("7.2.2", "NVIDIA Jetson AGX Orin Developer Kit")
        'yes'
        >>> tensorrt_11_on("7.2", "NVIDIA Jetson AGX Thor Developer Kit")
        'jetpack'
        >>> tensorrt_11_on("7.2.2", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit")
        'no'
    """
    if "Thor" not in device and "AGX Orin" not in device:
        return "no"
    return "yes" if version_tuple(jetpack) >= version_tuple(_TENSORRT_11_JETPACK) else "jetpack"


def version_tuple(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: what follows them (a build, a suffix) does not count.

    >>> version_tuple("10.13.3.9-1+cuda13.0"), version_tuple("6.2.1+b38"), version_tuple("none")
    ((10, 13, 3, 9), (6, 2, 1), ())
    """
    match = re.match(r"\d{1,9}(\.\d{1,9}){0,7}", version.strip())
    return tuple(map(int, match[0].split("."))) if match else ()
