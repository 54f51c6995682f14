"""Says what this machine's processor can do, and whether ONNX Runtime's integer kernels add up exactly on it.

On x86 without VNNI these kernels multiply unsigned by signed bytes and add pairs of products in 16 bits. A pair of
large products does not fit: it is cut off (it *saturates*), and the sum is wrong without any word. Weights of seven
bits, unsigned weights, and processors with VNNI, AVX-VNNI or AMX do not saturate, and neither does ARM.

The processor's flags say what is to be expected. They are not always true: a virtual machine may hide an instruction or
name one that it does not have, a container may show another machine's file, and macOS and Windows show none. So a
product whose sum is known is computed once in each process. Where it and the flags disagree, the product counts.
"""

from __future__ import annotations

import logging
import platform
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import printable

log = logging.getLogger("taemi_edge.runtime")

#: The features that decide which kernels run, and how fast; a newer Linux may name others, which change nothing here.
DECIDING = frozenset(
    {
        *("sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_vnni_int8", "avx_vnni_int16"),
        *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme", "sme2"),
    }
)
#: Those with which x86 adds products of bytes in 32 bits.
_EXACT_ON_X86 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_X86 = ("x86_64", "AMD64", "i386", "i686")
#: How much of /proc/cpuinfo is read: of 2,000 cores it has 3 MB.
_MOST_BYTES, _MOST_NAME = 16 << 20, 100
#: The length of the sum of the product, and its factors: two products of them are twice what 16 bits hold.
_TERMS, _INPUT, _WEIGHT = 64, 255, 127


class Processor(Frozen, frozen=True):
    """What is known of a processor.

    Attributes:
        architecture: such as "x86_64" or "aarch64".
        name: what it calls itself; empty where it does not.
        features: of `DECIDING`, those that all of its cores have; empty where nobody says.
    """

    architecture: str
    name: str = ""
    features: frozenset[str] = frozenset()

    @property
    def in_words(self) -> str:
        """The features in one line, such as "avx2 avx512_vnni"; empty where nobody says.

        >>> Processor(architecture="x86_64", features=frozenset({"fma", "avx2"})).in_words
        'avx2 fma'
        """
        return " ".join(sorted(self.features))


def features(root: Path = Path("/")) -> Processor:
    """Read what this machine's processor can do.

    Cores may differ, as on ARM with large and small ones: a feature counts where each core has it.

    Args:
        root: the folder that stands for "/".
    """
    lines = [line for line in _cpuinfo(root) if ":" in line]
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    listed = "flags" if platform.machine() in _X86 else "features"  # an emulator may show the file of its host
    cores = [DECIDING.intersection(value.split()) for name, value in fields if name == listed]
    named = next((value for name, value in fields if name == "model name"), "") or _arm_name(dict(fields[::-1]))
    common = frozenset.intersection(*cores) if cores else frozenset()
    return Processor(architecture=platform.machine(), name=printable(named[:_MOST_NAME]), features=common)


def saturates(processor: Processor | None = None) -> bool:
    """Whether, by the processor's flags, ONNX Runtime's integer kernels are to be expected to saturate.

    Args:
        processor: by default this machine's.

    Example:
        >>> saturates(Processor(architecture="x86_64", features=frozenset({"avx2"})))
        True
        >>> saturates(Processor(architecture="x86_64", features=frozenset({"avx2", "avx_vnni"})))
        False
        >>> saturates(Processor(architecture="aarch64"))
        False
    """
    found = processor or features()
    return found.architecture in _X86 and not found.features & _EXACT_ON_X86


@lru_cache(maxsize=1)
def kernels_are_exact() -> bool:
    """Whether ONNX Runtime's integer kernels add up exactly here: it is tried once in a process, in milliseconds.

    Where no product can be computed, the processor's flags are believed.
    """
    processor = features()
    expected = not saturates(processor)
    found = _product_is_exact()
    if found is None:
        return expected
    if found != expected and processor.features:
        log.warning(
            "the processor's flags (%s) say that integer kernels %s, and a product of bytes comes out %s: the product "
            "counts",
            processor.in_words,
            "do not saturate" if expected else "saturate",
            "right" if found else "wrong",
        )
    return found


def _product_is_exact() -> bool | None:
    """Multiply the largest unsigned bytes by the largest signed ones; None where ONNX Runtime cannot."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    feeds = {"x": np.full((4, _TERMS), _INPUT, np.uint8), "w": np.full((_TERMS, 16), _WEIGHT, np.int8)}
    try:
        session = onnxruntime.InferenceSession(_product_graph(), options, providers=["CPUExecutionProvider"])
        (product,) = session.run(None, feeds)
    except Exception as error:  # noqa: BLE001 - a build without this kernel: ONNX Runtime's errors share no class
        log.debug("no product of bytes can be computed: %s", error)
        return None
    return bool((product == _TERMS * _INPUT * _WEIGHT).all())


def _product_graph() -> bytes:
    """The graph `y = MatMulInteger(x, w)` of opset 10, field by field as onnx.proto has them: devices have no onnx."""
    uint8, int8, int32 = b"\x02", b"\x03", b"\x06"
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"MatMulInteger")
    graph = _field(1, node) + _field(2, b"product") + _value(11, b"x", uint8) + _value(11, b"w", int8)
    opset = _field(1, b"") + b"\x10\x0a"
    return b"\x08\x05" + _field(7, graph + _value(12, b"y", int32)) + _field(8, opset)


def _value(number: int, name: bytes, element: bytes) -> bytes:
    """An input or output of a graph: a matrix of any size."""
    shape = _field(2, _field(1, _field(2, b"n")) * 2)
    return _field(number, _field(1, name) + _field(2, _field(1, b"\x08" + element + shape)))


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited field of a protobuf message of up to 16 KB."""
    size = bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 127 | 128, len(content) >> 7])
    return bytes([number << 3 | 2]) + size + content


def _cpuinfo(root: Path) -> list[str]:
    """The lines of /proc/cpuinfo; none where there is no such file. A line that is cut off by the limit is left out."""
    file = root / "proc/cpuinfo"
    try:
        if not file.is_file():  # a pipe would be waited for
            return []
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError:
        return []
    lines = content.decode("utf-8", errors="replace").split("\n")
    return lines[:-1] if len(content) > _MOST_BYTES else lines


def _arm_name(fields: dict[str, str]) -> str:
    """What ARM's file says of the first core: numbers of its maker and its part; empty where it says nothing.

    >>> _arm_name({"cpu implementer": "0x41", "cpu part": "0xd42"})
    'ARM 0x41 0xd42'
    """
    numbers = [fields.get(name, "") for name in ("cpu implementer", "cpu part")]
    plain = [number for number in numbers if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", number)]
    return " ".join(["ARM", *plain]) if plain else ""
