"""Refuses ONNX graphs that keep their weights in other files, which nobody has hashed.

A graph can name such files in any tensor: of the graph, of a graph inside a node's attribute, of a function, of sparse
values. Devices have no `onnx` package, so this module walks over the file's protobuf fields itself. It follows the few
fields that lead to tensors and skips the others; it builds nothing, and it does not recurse.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from taemi_edge.errors import BundleError

#: Every graph with external data holds this word, as the key of its file's name; nearly all others do not.
MARK = b"location"
#: protobuf itself reads no more nested messages than this.
_MOST_DEPTH = 100
#: The fields that are looked at: some twenty for each node.
_MOST_FIELDS = 1_000_000
#: In each message, the fields that lead to tensors, with the message that each holds.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: Of a tensor: the entries that name a file, and where its data lie (1 is elsewhere).
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def require_no_external_data(content: bytes, where: str) -> None:
    """Refuse a graph that names data outside its file, or that is no ONNX graph at all.

    Args:
        content: of the file.
        where: what the error message calls the file.

    Raises:
        BundleError: a tensor's data lie elsewhere, or these bytes are no ONNX graph.

    Example:
        >>> require_no_external_data(bytes([8, 9]), "mine.onnx")  # one field: ir_version 9
    """
    try:
        elsewhere = _names_external_data(content)
    except _MalformedError as error:
        raise BundleError(f"{where}: expected an ONNX graph, got {error}: export the model again") from error
    if elsewhere:
        raise BundleError(
            f"{where}: expected a graph that holds its weights, but a tensor of it names another file, which no hash "
            f"covers: save the graph in one file (`onnx.save(model, file, save_as_external_data=False)`) and export "
            f"again"
        )


class _MalformedError(Exception):
    """These bytes are no protobuf as ONNX uses it."""


def _names_external_data(content: bytes) -> bool:
    if content[4:8] == b"ORTM":  # ONNX Runtime's own format, which it would recognise by this
        raise _MalformedError("a file in ONNX Runtime's own format")
    waiting = [("model", 0, len(content), 0)]
    fields = 0
    while waiting:
        message, at, end, depth = waiting.pop()
        inside, is_tensor = _INSIDE[message], message == "tensor"
        while at < end:
            fields += 1
            if fields > _MOST_FIELDS:
                raise _MalformedError(f"more than {_MOST_FIELDS:,} fields")
            tag, at = _varint(content, at, end)
            if tag >= 1 << 32:  # protobuf would read its lower half
                raise _MalformedError("a field whose number is too large")
            number, kind = tag >> 3, tag & 7
            first = at
            if kind == _VARINT:
                value, at = _varint(content, at, end)
                if is_tensor and number == _DATA_LOCATION and value:
                    return True
                continue
            if kind == _BYTES:
                size, first = _varint(content, at, end)
                at = first + size
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            else:
                raise _MalformedError(f"a field of the unknown type {kind}")
            if at > end:
                raise _MalformedError("a file that ends too early")
            if kind != _BYTES:
                continue
            if is_tensor and number == _EXTERNAL_DATA:
                return True
            if number in inside:
                if depth == _MOST_DEPTH:
                    raise _MalformedError(f"more than {_MOST_DEPTH} nested messages")
                waiting.append((inside[number], first, at, depth + 1))
    return False


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, and say where the next field begins."""
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise _MalformedError("a number that does not end")
