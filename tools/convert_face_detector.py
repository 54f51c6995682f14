"""Makes `taemi_edge/assets/blazeface_full_range.onnx`, the face detector, of MediaPipe's file for TensorFlow Lite.

    pip install tflite==2.18.0
    python tools/convert_face_detector.py tests/media/blazeface_full_range_sparse.tflite

What is changed on the way:

- Weights that are stored as their non-zero values (70 % of them are zero) are written out; they stay FP16, and a Cast
  makes FP32 of them. ONNX Runtime does that once, when it opens the graph. In FP32 the file is twice as large.
- A Pad in front of a convolution becomes its padding.
- The graph takes RGB pixels, uint8 (1, 192, 192, 3), and scales them itself.
- Of each anchor's 16 numbers only the box is kept; the other 12 are key points that nobody reads. Their share of the
  last two convolutions is cut away, which saves a twelfth of the time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).parent.parent / "taemi_edge" / "assets" / "blazeface_full_range.onnx"
OPSET, IR_VERSION = 17, 9
SIZE = 192
ANCHORS = (SIZE // 4) ** 2
#: An anchor's numbers: x, y, width and height of its box, and six key points; those of the box come first.
NUMBERS, KEPT = 16, 4
TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
INDICES = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}
Array = np.ndarray[Any, Any]


class TensorFlowLiteFile:
    """A network in a file for TensorFlow Lite: its operators in order, and the constants among its tensors."""

    def __init__(self, content: bytes) -> None:
        self._model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self._model.Subgraphs(0)

    def operators(self) -> list[tuple[int, Any, list[int], int]]:
        """The code, the operator, and the numbers of the tensors that it reads and of the one that it writes."""
        found = []
        for at in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(at)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            inputs = [int(number) for number in operator.InputsAsNumpy()]
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            found.append((number, operator, inputs, int(operator.OutputsAsNumpy()[0])))
        return found

    def constant(self, number: int) -> Array:
        """The values of a tensor, written out where they are stored sparsely."""
        tensor = self.graph.Tensors(number)
        stored = self._model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        values = np.frombuffer(stored, TYPES[tensor.Type()])
        sparsity = tensor.Sparsity()
        return values.reshape(tensor.ShapeAsNumpy()) if sparsity is None else _dense(tensor, sparsity, values)


def _dense(tensor: Any, sparsity: Any, values: Array) -> Array:
    """Rows of which the last dimension is stored as (where a row begins, which columns): the one form that is used."""
    shape = tensor.ShapeAsNumpy()
    formats = [sparsity.DimMetadata(at).Format() for at in range(sparsity.DimMetadataLength())]
    dense, compressed = tflite.DimensionType.DENSE, tflite.DimensionType.SPARSE_CSR
    in_order = sparsity.TraversalOrderAsNumpy().tolist() == list(range(len(shape)))
    if formats != [dense] * (len(shape) - 1) + [compressed] or not in_order or sparsity.BlockMapLength():
        raise SystemExit(f"{tensor.Name()}: expected rows in CSR form, got dimensions of the kinds {formats}")
    last = sparsity.DimMetadata(len(shape) - 1)
    begins = _indices(last.ArraySegmentsType(), last.ArraySegments())
    columns = _indices(last.ArrayIndicesType(), last.ArrayIndices())
    rows = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    for at, row in enumerate(rows):
        row[columns[begins[at] : begins[at + 1]]] = values[begins[at] : begins[at + 1]]
    dense_rows: Array = rows.reshape(shape)
    return dense_rows


def _indices(kind: int, table: Any) -> Array:
    vector = INDICES[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy())


class Converter:
    """Builds the ONNX graph, operator by operator; tensor 17 is called t17."""

    def __init__(self, source: TensorFlowLiteFile) -> None:
        self._source = source
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, Array] = {}
        #: Constants that an operator made of another constant, and tensors that are another one with a border of zeros.
        self._made: dict[int, Array] = {}
        self._padded: dict[int, int] = {}
        #: What the network gives, before it is reshaped, by how many numbers each anchor has.
        self._grids: dict[int, str] = {}

    def convert(self) -> onnx.ModelProto:
        """The whole network, checked for being well-formed."""
        codes = tflite.BuiltinOperator
        steps = {
            codes.DENSIFY: self._keep_constant,
            codes.DEQUANTIZE: self._keep_constant,
            codes.PAD: self._keep_padding,
            codes.CONV_2D: self._convolve,
            codes.DEPTHWISE_CONV_2D: self._convolve,
            codes.ADD: self._add,
            codes.RESIZE_BILINEAR: self._double,
            codes.DEPTH_TO_SPACE: self._to_space,
            codes.RESHAPE: self._keep_grid,
        }
        self._scale_pixels(int(self._source.graph.Inputs(0)))
        for code, operator, inputs, output in self._source.operators():
            steps[code](operator, inputs, output)
        self._cut_key_points()
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(self._graph(), opset_imports=[opset], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _scale_pixels(self, target: int) -> None:
        """From 0 to 255 become -1 to 1."""
        self._weights |= {"scale": np.array([1 / 127.5], np.float32), "one": np.array([1], np.float32)}
        self._node("Transpose", ["pixels"], "channels_first", perm=[0, 3, 1, 2])
        self._node("Cast", ["channels_first"], "as_float", to=TensorProto.FLOAT)
        self._node("Mul", ["as_float", "scale"], "scaled")
        self._node("Sub", ["scaled", "one"], f"t{target}")

    def _keep_constant(self, _: Any, inputs: list[int], output: int) -> None:
        self._made[output] = self._constant(inputs[0])

    def _keep_padding(self, _: Any, inputs: list[int], output: int) -> None:
        if self._constant(inputs[1]).tolist() != [[0, 0], [1, 1], [1, 1], [0, 0]]:
            raise SystemExit(f"tensor {output}: expected a border of one pixel")
        self._padded[output] = inputs[0]

    def _convolve(self, operator: Any, inputs: list[int], output: int) -> None:
        """A convolution, or a depthwise one, whose weights are (1, H, W, channels) here."""
        weights, bias = self._constant(inputs[1]), self._constant(inputs[2])
        depthwise = operator.BuiltinOptionsType() == tflite.BuiltinOptions.DepthwiseConv2DOptions
        options = _options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        if options.Padding() != tflite.Padding.VALID and weights.shape[2:] != (1, 1):
            raise SystemExit(f"tensor {output}: expected a convolution that pads nothing by itself")
        name, source = f"t{output}", self._padded.get(inputs[0], inputs[0])
        self._weights |= {f"{name}_weight": weights, f"{name}_bias": bias}
        self._node(
            "Conv",
            [f"t{source}", f"{name}_weight", f"{name}_bias"],
            self._before_activation(options, name),
            kernel_shape=list(weights.shape[2:]),
            pads=[int(source != inputs[0])] * 4,
            strides=[options.StrideH(), options.StrideW()],
            group=len(weights) if depthwise else 1,
        )
        self._activate(options, name)

    def _add(self, operator: Any, inputs: list[int], output: int) -> None:
        options, name = _options(operator, tflite.AddOptions), f"t{output}"
        self._node("Add", [f"t{number}" for number in inputs], self._before_activation(options, name))
        self._activate(options, name)

    def _double(self, operator: Any, inputs: list[int], output: int) -> None:
        """Twice the height and width, by bilinear interpolation."""
        sizes = [self._source.graph.Tensors(number).ShapeAsNumpy()[1:3].tolist() for number in (inputs[0], output)]
        options = _options(operator, tflite.ResizeBilinearOptions)
        if [2 * side for side in sizes[0]] != sizes[1] or not options.HalfPixelCenters() or options.AlignCorners():
            raise SystemExit(f"tensor {output}: expected twice the size and pixels that are areas, got {sizes}")
        self._weights["twice"] = np.array([1, 1, 2, 2], np.float32)
        self._node("Resize", [f"t{inputs[0]}", "", "twice"], f"t{output}", mode="linear")

    def _to_space(self, operator: Any, inputs: list[int], output: int) -> None:
        size = _options(operator, tflite.DepthToSpaceOptions).BlockSize()
        self._node("DepthToSpace", [f"t{inputs[0]}"], f"t{output}", blocksize=size, mode="DCR")

    def _keep_grid(self, _: Any, inputs: list[int], output: int) -> None:
        self._grids[int(self._source.graph.Tensors(output).Shape(2))] = f"t{inputs[0]}"

    def _cut_key_points(self) -> None:
        """Make the last two convolutions before the boxes compute boxes alone: four anchors of 16 numbers each."""
        kept = np.arange(4 * NUMBERS).reshape(4, NUMBERS)[:, :KEPT].reshape(-1)
        producers = {node.output[0]: node for node in self._nodes}
        to_space = producers[self._grids[NUMBERS]]
        depthwise = producers[to_space.input[0]]
        for node in (depthwise, producers[depthwise.input[0]]):
            for name in node.input[1:]:
                self._weights[name] = self._weights[name][kept]
        next(each for each in depthwise.attribute if each.name == "group").i = len(kept)

    def _graph(self) -> onnx.GraphProto:
        """Gives scores and boxes by anchor; the anchors lie row by row on a grid of 48 x 48."""
        outputs = []
        for name, numbers, columns in (("scores", 1, 1), ("boxes", NUMBERS, KEPT)):
            self._weights[f"{name}_shape"] = np.array([ANCHORS, columns], np.int64)
            self._node("Transpose", [self._grids[numbers]], f"{name}_last", perm=[0, 2, 3, 1])
            self._node("Reshape", [f"{name}_last", f"{name}_shape"], name)
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [ANCHORS, columns]))
        casts, stored = [], []
        for name, values in self._weights.items():
            halved = values.dtype == np.float16
            if halved:
                casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
            stored.append(numpy_helper.from_array(np.ascontiguousarray(values), f"{name}_half" if halved else name))
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, SIZE, SIZE, 3])
        return helper.make_graph(casts + self._nodes, "blazeface_full_range", [pixels], outputs, stored)

    def _constant(self, number: int) -> Array:
        return self._made[number] if number in self._made else self._source.constant(number)

    def _before_activation(self, options: Any, name: str) -> str:
        return f"{name}_sum" if options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU else name

    def _activate(self, options: Any, name: str) -> None:
        known = (tflite.ActivationFunctionType.NONE, tflite.ActivationFunctionType.RELU)
        if options.FusedActivationFunction() not in known:
            raise SystemExit(f"{name}: expected a ReLU or nothing, got activation {options.FusedActivationFunction()}")
        if options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU:
            self._node("Relu", [f"{name}_sum"], name)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))


def _options(operator: Any, kind: Any) -> Any:
    options = kind()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FILE.tflite", help="MediaPipe's file")
    parser.add_argument("target", type=Path, metavar="FILE.onnx", nargs="?", default=TARGET, help="what is written")
    given = parser.parse_args()
    if not given.source.is_file():
        parser.error(f"expected MediaPipe's file at {given.source}, found none")
    model = Converter(TensorFlowLiteFile(given.source.read_bytes())).convert()
    given.target.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{given.target}: {given.target.stat().st_size / 1e6:.2f} MB, {len(model.graph.node)} nodes")


if __name__ == "__main__":
    main()
