"""How large what is read from outside may be, with the reason for each bound.

A bundle or a recipe may come from anybody. What is larger than any real model needs is refused before memory is taken
for it: in one sentence, and not after minutes of swapping. The bounds are generous; each says what it is generous to.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Files of a bundle, in bytes.

#: `manifest.json`; the manifest of taemi-base, calibrated and built, has 60 kB. Its values take some twenty times as
#: much memory as their text.
MOST_MANIFEST_BYTES = 4 * MIB
#: A signature and a file of keys; a signature has 200 bytes for each file that is signed.
MOST_SIGNATURE_BYTES = 1 * MIB
#: How deep JSON may be nested; a manifest has eight levels.
MOST_JSON_DEPTH = 64
#: An ONNX graph: protobuf ends at 2 GiB, and graphs beyond need external data, which a bundle cannot have.
MOST_GRAPH_BYTES = 2 * GIB
#: Any other file, such as an engine: the memory of the smallest device is 8 GB.
MOST_FILE_BYTES = 8 * GIB
#: The files of a bundle: 64 streams in four flavours are 260.
MOST_FILES = 1024
#: A file name, in bytes; file systems end here.
MOST_NAME_BYTES = 255
#: `tokens.safetensors`: 4096 steps of 2048 numbers, twice.
MOST_TOKENS_BYTES = 64 * MIB
#: The names and shapes in front of it.
MOST_TOKENS_HEADER_BYTES = 1 * MIB
#: `golden.npz`, packed and unpacked: taemi-base has 12 MB, and a batch of eight clips of 16 pictures has 20 MB.
MOST_GOLDEN_BYTES = 192 * MIB
#: Arrays in it: eight tensors of a head in each of a thousand presence patterns are 8,000.
MOST_GOLDEN_ARRAYS = 20_000
#: `tokenizer.json`: the largest that is widely used, of 262,144 tokens, has 32 MiB.
MOST_TOKENIZER_BYTES = 40 * MIB

# Numbers in a manifest, a recipe or a declaration.

#: The longest window, chunk or context, and the longest time without data, in seconds.
MOST_WINDOW_S = 3600.0
MOST_PRESENCE_S = 86_400.0
#: The shortest hop, in seconds: a thousand predictions a second are more than any device makes.
LEAST_HOP_S = 1e-3
#: Values a second of sound or a series: ultrasound is sampled at 500 kHz.
MOST_RATE_HZ = 1e6
#: Pictures a second, and the fewest: one in an hour.
MOST_FRAMES_PER_SECOND, LEAST_FRAMES_PER_SECOND = 1000.0, 1 / 3600
#: Values in one row of an encoder's input: the pixels of 4096 x 4096, or 17 minutes of sound at 16 kHz.
MOST_INPUT_VALUES = 1 << 24
#: The height and the width of a picture.
MOST_SIDE = 1 << 14
#: Tokens of a text; the longest contexts of language models are eight times shorter.
MOST_TEXT_TOKENS = 1 << 20
#: The width of features, of channels and of rows.
MOST_WIDTH = 1 << 16
#: Numbers in the features of one window of a stream: 4096 steps of 4096, or 16,384 of 1024.
MOST_FEATURE_VALUES = 1 << 24
#: One length of a tensor's shape, and how many lengths it has (TensorRT ends at 8).
MOST_LENGTH, MOST_AXES = (1 << 31) - 1, 8
#: Streams and groups of outputs of a model, and tensors of a part.
MOST_STREAMS, MOST_OUTPUTS, MOST_TENSORS = 64, 256, 512
#: Names of all outputs together; ImageNet-21k has 21,841 classes.
MOST_OUTPUT_NAMES = 1 << 16
#: Sets of live streams that a model declares.
MOST_PATTERNS = 1024
