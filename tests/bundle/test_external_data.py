"""Graphs that keep data in other files are refused, wherever they name them, and hostile bytes end at once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.external_data import require_no_external_data
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import BundleError
from tests.bundle.hostile import edit_manifest, put


def field(number: int, content: bytes | int) -> bytes:
    """A protobuf field: a number, or bytes with their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


#: A tensor whose data lie in the file "x".
ENTRY = field(1, b"location") + field(2, b"x")
TENSOR = field(8, b"w") + field(13, ENTRY) + field(14, 1)
SPARSE = field(1, TENSOR)


def node(attribute: bytes) -> bytes:
    return field(1, field(4, b"Constant") + field(5, attribute))


@pytest.mark.parametrize(
    "content",
    [
        field(7, field(5, TENSOR)),
        field(7, field(5, field(13, ENTRY))),
        field(7, field(5, field(14, 1))),
        field(7, field(15, SPARSE)),
        field(7, field(15, field(2, TENSOR))),
        field(7, node(field(5, TENSOR))),
        field(7, node(field(10, TENSOR))),
        field(7, node(field(22, SPARSE))),
        field(7, node(field(23, SPARSE))),
        field(7, node(field(6, field(5, TENSOR)))),
        field(7, node(field(11, node(field(6, field(5, TENSOR)))))),
        field(25, field(7, field(5, field(5, TENSOR)))),
        field(25, field(11, field(5, TENSOR))),
        field(20, field(1, field(5, TENSOR))),
        field(20, field(2, field(5, TENSOR))),
        field(1, 9) + field(7, b"") + field(7, field(5, field(9, b"1234")) + field(5, TENSOR)),
    ],
)
def test_a_graph_that_names_another_file_anywhere_is_refused(content: bytes):
    with pytest.raises(BundleError, match=r"a\.onnx: expected a graph that holds its weights.* names another file"):
        require_no_external_data(content, "a.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        field(7, field(5, field(8, b"location") + field(14, 0))),
        field(7, field(11, field(14, 1))),  # an input of the graph, in which 14 means nothing
        field(14, b"metadata") + field(7, field(10, b"location")),
        varint(7 << 3 | 5) + b"1234" + varint(7 << 3 | 1) + b"12345678",
    ],
)
def test_other_graphs_are_not(content: bytes):
    require_no_external_data(content, "a.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x01\x02\x03ORTM", "ONNX Runtime's own format"),
        (field(7, b"abc")[:-1], "ends too early"),
        (varint(7 << 3 | 2) + varint(1 << 62), "ends too early"),
        (b"\xff" * 20, "a number that does not end"),
        (b"\x80", "a number that does not end"),
        (varint((1 << 35) | 7 << 3 | 2) + b"\x00", "number is too large"),
        (varint(7 << 3 | 3), "unknown type 3"),
        (b"hello", "a field of the unknown type|ends too early"),
    ],
)
def test_bytes_that_are_no_graph_are_refused(content: bytes, message: str):
    with pytest.raises(BundleError, match=f"expected an ONNX graph, got .*(?:{message})"):
        require_no_external_data(content, "a.onnx")


def test_a_graph_nested_as_deeply_as_bytes_allow_is_refused():
    content = b""
    for _ in range(2000):
        content = node(field(6, content))
    with pytest.raises(BundleError, match="more than 100 nested messages"):
        require_no_external_data(field(7, content), "a.onnx")


def test_a_graph_of_millions_of_fields_ends_soon():
    started = time.process_time()
    with pytest.raises(BundleError, match="more than 1,000,000 fields"):
        require_no_external_data(b"\x08\x01" * 50_000_000, "a.onnx")
    assert time.process_time() - started < 5


@given(st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_one_sentence(content: bytes):
    try:
        require_no_external_data(content, "a.onnx")
    except BundleError as error:
        assert str(error).isprintable()


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def test_a_bundle_with_external_data_does_not_open(copy: Path):
    """Even where the other file lies in the folder and is listed."""
    graph = (copy / "text.onnx").read_bytes()
    put(copy, "weights.bin", b"\0" * 64)
    put(copy, "text.onnx", graph + field(7, field(5, TENSOR)))
    with pytest.raises(BundleError, match=r"text\.onnx: expected a graph that holds its weights"):
        open_bundle(copy)


def test_a_graph_of_another_name_is_checked_when_it_is_loaded(copy: Path):
    """The suffix is the manifest's word: what is read as a graph is checked as a graph."""
    put(copy, "text.model", (copy / "text.onnx").read_bytes() + field(7, field(5, field(14, 1))))
    edit_manifest(copy, lambda manifest: manifest["parts"]["text"].update(file="text.model"))
    bundle = open_bundle(copy)
    with pytest.raises(BundleError, match="expected a graph that holds its weights"):
        bundle.read_graph("text.model")


def test_what_onnx_writes_is_recognised(tmp_path: Path):
    """The walk against the library itself: a tensor of each place, kept in another file and in the graph."""
    onnx = pytest.importorskip("onnx", reason="graphs are made with onnx")
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(4096, np.float32), "v"))
    graph = helper.make_graph(
        [constant, helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 64])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    require_no_external_data(model.SerializeToString(), "a.onnx")
    for convert_attribute in (False, True):
        onnx.save(
            onnx.ModelProto.FromString(model.SerializeToString()),
            str(tmp_path / f"{convert_attribute}.onnx"),
            save_as_external_data=True,
            location=f"{convert_attribute}.bin",
            size_threshold=0,
            convert_attribute=convert_attribute,
        )
        with pytest.raises(BundleError, match="names another file"):
            require_no_external_data((tmp_path / f"{convert_attribute}.onnx").read_bytes(), "a.onnx")
