"""Changes inside pickles, zip archives of arrays, protobuf messages and the boxes of MP4."""

from __future__ import annotations

import io
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

from tests.fuzz.mutation.plain import NUMBERS, mutate_bytes

_NPY_HEAD = 128
_TYPES = (
    "<f4",
    ">f8",
    "<i8",
    "|u1",
    "|b1",
    "<f2",
    "|O",
    "<U9999999",
    "|S0",
    "<M8[ns]",
    "|V8",
    "<c16",
    "[('a', '<f4')]",
    "<f99",
)
#: Boxes of MP4 that hold boxes.
_HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"meta", b"moof", b"traf")


def mutate_pickle(content: bytes, chance: random.Random) -> bytes:
    """Remove, repeat, swap or move an opcode of a pickle, or change its argument."""
    try:
        starts = [position for _, _, position in pickletools.genops(content)]
    except Exception:  # noqa: BLE001  (what is no pickle is changed as bytes)
        return mutate_bytes(content, chance)
    parts = [content[begin:end] for begin, end in zip(starts, [*starts[1:], len(content)], strict=True)]
    at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    match chance.randrange(6):
        case 0:
            del parts[at]
        case 1:
            parts[at:at] = [parts[other]] * chance.choice((1, 1, 2, 500))
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = parts[at][:1] + mutate_bytes(parts[at][1:], chance)
        case 4:
            parts[at:at] = [
                chance.choice((b"(", b"N", b")", b"]", b"}", b"R", b"b", b"0", b"2", b"\x94", b"K\x01", b"t", b"a"))
            ]
        case _:
            parts[at] = parts[other]
    return b"".join(parts)


def mutate_archive(content: bytes, chance: random.Random) -> bytes:
    """Change a file of a zip archive, its name, or which files there are; checksums are right again afterwards."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [(entry.filename, archive.read(entry)) for entry in archive.infolist()][:50]
    except Exception:  # noqa: BLE001  (a damaged archive is changed as bytes)
        return mutate_bytes(content, chance)
    if not files or chance.random() < 0.15:
        return mutate_bytes(content, chance)
    at = chance.randrange(len(files))
    name, inside = files[at]
    match chance.randrange(6):
        case 0:
            files[at] = mutate_bytes(name.encode(), chance).decode("latin-1"), inside
        case 1:
            files.append((chance.choice(files)[0], inside))
        case 2:
            del files[at]
        case 3:
            files[at] = name, mutate_bytes(inside, chance)
        case _:
            files[at] = name, mutate_npy(inside, chance)
    how = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    return _archive(files, how)


def _archive(files: list[tuple[str, bytes]], how: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, inside in files:
            if name and name not in archive.namelist():
                archive.writestr(zipfile.ZipInfo(name), inside, how)
    return stream.getvalue()


def mutate_npy(npy: bytes, chance: random.Random) -> bytes:
    """An .npy file that claims another type or shape."""
    head = npy[:_NPY_HEAD].decode("latin-1")
    begin = head.find("'descr': ")
    shape = head.find("'shape': ")
    if begin < 0 or shape < 0:
        return mutate_bytes(npy, chance)
    if chance.random() < 0.5:
        end = head.find(",", begin)
        head = head[: begin + 9] + repr(chance.choice(_TYPES)) + head[end:]
    else:
        sizes = ", ".join(chance.choice((*NUMBERS[:12], "2", "3", "None", "'a'")) for _ in range(chance.randrange(40)))
        head = head[: shape + 9] + f"({sizes}), }}\n"
    text = head[10:].encode("latin-1", "replace")
    return npy[:8] + struct.pack("<H", len(text)) + text + npy[_NPY_HEAD:]


def mutate_protobuf(content: bytes, chance: random.Random) -> bytes:
    """Remove, repeat or change a field of a protobuf message, at any depth; lengths are right again afterwards."""
    return _changed_message(content, chance, _changed_field)


Field = tuple[int, int, int | bytes]


def _changed_message(
    content: bytes, chance: random.Random, change: Callable[[list[Field], random.Random], None]
) -> bytes:
    try:
        fields = _fields(content)
    except (IndexError, ValueError):
        return mutate_bytes(content, chance)
    nested = [
        at for at, (_, kind, value) in enumerate(fields) if kind == 2 and isinstance(value, bytes) and len(value) > 1
    ]
    if nested and chance.random() < 0.75:
        at = chance.choice(nested)
        number, kind, value = fields[at]
        assert isinstance(value, bytes)
        fields[at] = number, kind, _changed_message(value, chance, change)
    elif fields:
        change(fields, chance)
    return b"".join(map(_field, fields))


def _changed_field(fields: list[Field], chance: random.Random) -> None:
    at = chance.randrange(len(fields))
    number, kind, value = fields[at]
    match chance.randrange(4):
        case 0:
            del fields[at]
        case 1:
            fields[at:at] = [fields[at]] * chance.choice((1, 2, 100))
        case 2:
            fields[at] = chance.randrange(1, 30), kind, value
        case _ if isinstance(value, bytes):
            fields[at] = number, kind, mutate_bytes(value, chance)
        case _:
            fields[at] = number, kind, chance.choice((0, 1, 2, 7, 16, 2**31, 2**63, 2**64 - 1))


def _fields(content: bytes) -> list[Field]:
    found: list[Field] = []
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(content, at)
            found.append((key >> 3, kind, number))
            continue
        if kind == 2:
            size, at = _varint(content, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("no protobuf")
        if at + size > len(content):
            raise ValueError("no protobuf")
        found.append((key >> 3, kind, content[at : at + size]))
        at += size
    return found


def _field(field: Field) -> bytes:
    number, kind, value = field
    key = _as_varint(number << 3 | kind)
    if isinstance(value, int):
        return key + _as_varint(value)
    return key + (_as_varint(len(value)) if kind == 2 else b"") + value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _as_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def mutate_media(content: bytes, chance: random.Random) -> bytes:
    """Change a box of an MP4 file, a page of an Ogg file, or bytes near the head of any other."""
    if content[4:8] == b"ftyp" and chance.random() < 0.7:
        return _changed_boxes(content, chance)
    if content[:4] == b"OggS" and chance.random() < 0.7:
        return _changed_pages(content, chance)
    if chance.random() < 0.5:
        head = min(len(content), chance.choice((64, 256, 1024)))
        return mutate_bytes(content[:head], chance) + content[head:]
    return mutate_bytes(content, chance)


def _changed_boxes(content: bytes, chance: random.Random) -> bytes:
    boxes: list[tuple[bytes, bytes]] = []
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        size = size if 8 <= size <= len(content) - at else len(content) - at
        boxes.append((content[at + 4 : at + 8], content[at + 8 : at + size]))
        at += size
    if not boxes:
        return mutate_bytes(content, chance)
    holders = [i for i, (name, _) in enumerate(boxes) if name in _HOLDERS]
    i = chance.choice(holders) if holders and chance.random() < 0.9 else chance.randrange(len(boxes))
    name, inside = boxes[i]
    if name in _HOLDERS and chance.random() < 0.9:
        boxes[i] = name, _changed_boxes(inside, chance)
    else:
        match chance.randrange(5):
            case 0:
                del boxes[i]
            case 1:
                boxes[i:i] = [boxes[i]] * chance.choice((1, 2, 30))
            case 2:
                other = chance.randrange(len(boxes))
                boxes[i], boxes[other] = boxes[other], boxes[i]
            case _:
                boxes[i] = name, mutate_bytes(inside, chance)
    return b"".join(struct.pack(">I", len(inside) + 8) + name + inside for name, inside in boxes)


def _changed_pages(content: bytes, chance: random.Random) -> bytes:
    """An Ogg file of which one page is changed, with the checksums that its reader looks for."""
    pages = [b"OggS" + page for page in content.split(b"OggS")[1:]]
    at = chance.randrange(len(pages))
    match chance.randrange(3):
        case 0:
            pages[at:at] = [chance.choice(pages)]
        case 1:
            del pages[at]
        case _:
            pages[at] = b"OggS" + mutate_bytes(pages[at][4:], chance)
    return b"".join(map(_with_checksum, pages))


def _with_checksum(page: bytes) -> bytes:
    if len(page) < 27:
        return page
    bare = page[:22] + b"\0\0\0\0" + page[26:]
    return bare[:22] + struct.pack("<I", _ogg_checksum(bare)) + bare[26:]


def _ogg_checksum(page: bytes) -> int:
    """The CRC of Ogg, which is zlib's polynomial with bits in the other order and no inversion."""
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in page)
    crc = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
