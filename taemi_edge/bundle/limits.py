"""How large what is read from outside may be, with the reason for each bound.

A bundle or a recipe may come from anybody. What is larger than any real model needs is refused before memory is taken
for it: in one sentence, and not after minutes of swapping. The bounds are generous; each says what it is generous to.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Files of a bundle, in bytes.

#: `manifest.json`, which is read before anything is known of it: its values take some twenty times as much memory as
#: their text. That of taemi-mobile has 7 kB; a thousand engines that were tried and 20,000 classes are less than 1 MiB.
MOST_MANIFEST_BYTES = 2 * MIB
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
#: `tokens.safetensors`: two stand-ins of 4096 steps of 2048 numbers each. That of taemi-mobile has 9 kB.
MOST_TOKENS_BYTES = 64 * MIB
#: The names and shapes in front of it.
MOST_TOKENS_HEADER_BYTES = 1 * MIB
#: `golden.npz`, packed and unpacked together: that of taemi-mobile has 7 and 12 MB, and sixteen clips of sixteen
#: pictures of 224 x 224 are 39 MB.
MOST_GOLDEN_BYTES = 256 * MIB
#: Arrays in it: eight tensors of a head in each of a thousand presence patterns are 8,000.
MOST_GOLDEN_ARRAYS = 20_000
#: `tokenizer.json`: the largest that is widely used, of 262,144 tokens, has 32 MiB.
MOST_TOKENIZER_BYTES = 40 * MIB

#: A recipe, a declaration or another TOML file that people write, in bytes.
MOST_TOML_BYTES = 256 * KIB
#: `card.json` and `MODEL_CARD.md`, in bytes: five texts of the length below in letters of four bytes, and evaluations.
MOST_CARD_BYTES = 1 * MIB
#: A text that a model says of itself, in characters; the cards of well-described models have 15,000 in all.
MOST_CARD_CHARACTERS = 20_000
#: A report of `evaluate --json`: of 64 presence patterns with a thousand classes each it has 2 MB.
MOST_REPORT_BYTES = 64 * MIB
#: Evaluations in a card: of some data sets, each with a handful of splits.
MOST_CARD_EVALUATIONS = 32

# Inside a tokenizer.json.

#: Tokens of a vocabulary, and its merges: the largest in wide use has 262,144 and 514,906.
MOST_VOCABULARY, MOST_MERGES = 1 << 19, 1 << 20
#: Nodes of the tree of all tokens that have scores, which takes some 290 bytes a node.
MOST_TREE_NODES = 1 << 20
#: Added tokens, and their letters together: those of speech models are up to 28,000. An automaton finds them, which
#: takes some 75 bytes a letter.
MOST_ADDED_TOKENS, MOST_ADDED_CHARACTERS = 1 << 15, 1 << 19
#: A normalizer, a pre-tokenizer or a post-processor, in bytes; the maps of letters of multilingual models have 320 kB.
MOST_COMPONENT_BYTES = 2 * MIB
#: Their steps; published ones have up to eight.
MOST_COMPONENTS = 64
#: How many times as long all of them may make a text.
MOST_GROWTH = 64
#: Letters of what is put before, behind or in place of something.
MOST_AFFIX = 64
#: Letters of a word that is looked up as a whole; the usual number is 100, and the time grows with its square.
MOST_WORD_CHARACTERS = 1000
#: Special tokens around a text; models have two to four.
MOST_SPECIAL_TOKENS = 64
#: Letters of a pattern; published ones have up to 1,000.
MOST_PATTERN = 4096

# Numbers in a manifest, a recipe or a declaration.

#: No number of ours needs more than the 53 bits that every reader of JSON keeps.
MOST_INTEGER = 1 << 53
#: The longest window, chunk or context, and the longest time without data, in seconds.
MOST_WINDOW_S = 3600.0
MOST_PRESENCE_S = 86_400.0
#: The shortest hop, in seconds: no device makes a thousand predictions a second.
LEAST_HOP_S = 1e-3
#: Values a second of sound or a series: ultrasound is sampled at 500 kHz.
MOST_RATE_HZ = 1e6
#: Pictures a second, and the fewest: one in an hour.
MOST_FRAMES_PER_SECOND, LEAST_FRAMES_PER_SECOND = 1000.0, 1 / 3600
#: Values in one row of an encoder's input: the pixels of 4096 x 4096, or 17 minutes of sound at 16 kHz.
MOST_INPUT_VALUES = 1 << 24
#: The height and the width of a picture.
MOST_SIDE = 1 << 14
#: Tokens of a text: the longest contexts of language models.
MOST_TEXT_TOKENS = 1 << 20
#: The width of features and the channels of a series; the widest language models have 16,384.
MOST_WIDTH = 1 << 16
#: Steps of a stream that the head takes, and rows that are encoded one by one.
MOST_STEPS = 1 << 20
#: Numbers that stand for a stream: 8192 steps of 2048.
MOST_TOKEN_VALUES = MOST_TOKENS_BYTES // 4
#: Numbers in the features of a window, all streams together: half an hour of 25 pictures a second in 1024 numbers.
MOST_FEATURE_VALUES = 3 << 24
#: One length of a tensor's shape, and how many lengths it has (TensorRT ends at 8).
MOST_LENGTH, MOST_AXES = (1 << 31) - 1, 8
#: Streams and groups of outputs of a model, and tensors of a part: two for each stream of a head.
MOST_STREAMS, MOST_OUTPUTS, MOST_TENSORS = 64, 256, 512
#: Names of all outputs together; ImageNet-21k has 21,841 classes.
MOST_OUTPUT_NAMES = 1 << 16
#: Sets of live streams that a model declares.
MOST_PATTERNS = 1024
#: Pictures or windows in one call.
MOST_BATCH = 1024
#: Threads of a part: more than any machine has cores.
MOST_THREADS = 1024
#: How many sources share a call.
MOST_SOURCES = 256
#: How often a candidate is timed, and the memory of tactics in MiB: a tebibyte.
MOST_RUNS, MOST_WORKSPACE_MIB = 100_000, 1 << 20
#: Clips, rows of a clip and rows of a tensor in a calibration.
MOST_CLIPS, MOST_CALIBRATION_ROWS = 1_000_000, 1 << 20
