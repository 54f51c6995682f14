"""Makes the seeds of every parser anew: python -m tests.fuzz.make_seeds [GROUP]. Inputs of findings are kept.

The seeds are committed, so that fuzzing needs none of what makes them. Each is small and real: written by the code that
writes such files, or by the program that others use for it.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

import taemi_edge as te
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.fleet.artifact import artifact_bytes
from taemi_edge.fleet.signing import read_private_key, statement_of
from tests.fuzz.harness import SEEDS

ROOT = Path(__file__).parents[2]
#: The streams of the little bundle: a series and a text.
LITTLE = SEEDS.parent / "little_bundle"


def put(parser: str, name: str, content: bytes | str) -> None:
    """Write a seed."""
    folder = SEEDS / parser
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


class _Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.embedding(ids) * mask[..., None]


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, pulse: torch.Tensor, words: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"load": self.out(pulse.mean(1) + words.mean(1))}


def _tokenizer() -> Tokenizer:
    words = ["[UNK]", "so", "it", "is", "not", "the", "end", "of", "all", "things"]
    known = {word: at for at, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(known, unk_token=words[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def _export_little() -> None:
    torch.manual_seed(0)
    numbers = np.random.default_rng(0)
    rows = numbers.normal(size=(6, 2)).astype(np.float32)
    samples = [
        {"pulse/values": row, "words/ids": np.array([1, 2, 3], np.int32), "label/load": np.zeros(2, np.float32)}
        for row in rows
    ]
    model = te.Model(
        streams={
            "pulse": te.Stream(te.Series(2), nn.Linear(2, 4)),
            "words": te.Stream(te.Text(_tokenizer(), 8), _Words(), missing=torch.randn(4)),
        },
        head=_Head(),
        outputs={"load": te.Regression(["left", "right"])},
        samples=samples,
        window_s=2.0,
        hop_s=0.5,
        name="little",
    )
    shutil.rmtree(LITTLE, ignore_errors=True)
    te.export_model(model, LITTLE)


def _bundles() -> None:
    _export_little()
    put("manifest", "little.json", (LITTLE / "manifest.json").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        from tests.calibration.mixed_model import model

        te.export_model(model(), Path(folder, "mixed"))
        put("manifest", "mixed.json", Path(folder, "mixed", "manifest.json").read_bytes())
    put("tokens", "little.safetensors", (LITTLE / "tokens.safetensors").read_bytes())
    put("golden", "little.npz", (LITTLE / "golden.npz").read_bytes())
    put("tokens", "empty.safetensors", struct.pack("<Q", 2) + b"{}")
    for graph in LITTLE.glob("*.onnx"):
        put("graph", graph.name, graph.read_bytes())
    put("tokenizer", "words.json", _tokenizer().to_str())
    bpe = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    put("tokenizer", "bpe.json", bpe.to_str())
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("so", -1.0), ("it", -2.0)], 0, False))
    put("tokenizer", "unigram.json", pieces.to_str())
    put("tokenizer", "wordpiece.json", Tokenizer(models.WordPiece({"[UNK]": 0, "so": 1, "##it": 2})).to_str())


def _recipes() -> None:
    for parser, folder in (
        ("recipe-model", "export"),
        ("recipe-calibration", "calibration"),
        ("recipe-engine", "engines"),
    ):
        for file in sorted((ROOT / folder).glob("*.toml"))[:3]:
            put(parser, file.name, file.read_bytes())
    onnx = next((ROOT / "examples" / "only-onnx").glob("*.toml"))
    put("recipe-onnx", onnx.name, onnx.read_bytes())
    put("live", "service.toml", (ROOT / "packaging" / "live.toml").read_bytes())
    put(
        "live",
        "all.toml",
        'bundle = "export/m"\noutput = "-"\nhop_s = 0.5\ndrop = ["audio@2-4"]\n[[source]]\nname = "door"\n'
        'uri = "rtsp://me:secret@door.local/1"\n[[source]]\nname = "desk"\nvideo = "/dev/video0"\n'
        'audio = "alsa:default"\nstreams = {imu = "unix:/run/imu.sock"}\n[serve]\n'
        'address = "[::1]:8080"\n[mqtt]\nbroker = "localhost:1883"\n'
        '[record]\nfolder = "/tmp/r"\n[presence.audio]\nstale_after_s = 1.0\nmissing_after_s = 2.0\n'
        "recover_after_s = 1.0\n",
    )


def _words() -> None:
    put("vtt", "demo.vtt", (ROOT / "taemi_edge" / "assets" / "demo.vtt").read_bytes())
    put(
        "vtt",
        "styled.vtt",
        "WEBVTT - talk\n\nSTYLE\n::cue { color: red }\n\nNOTE one\n\n1\n00:01.000 --> 00:02.500 align:start\n"
        "<v Ann>so <i>it</i> is &amp; was\n\n00:00:03.000 --> 01:00:04.000\n- two\n- lines\n",
    )
    put("drop", "one.txt", "imu@2-4.5")
    put("srt", "talk.srt", "1\n00:00:01,000 --> 00:00:02,000\nso it is\n\n2\n00:00:02,500 --> 00:00:04,000\nthe end\n")
    put("txt", "talk.txt", "so it is\n\nnot the end of all things\n")
    put(
        "jsonl",
        "talk.jsonl",
        '{"start": 0.5, "end": 1.5, "text": "so it is"}\n{"start": 2, "end": 3.25, "text": "the end"}\n',
    )
    put(
        "lines-words",
        "lines.jsonl",
        '{"text": "so it is", "start": 0.4, "end": 1.1, "source": "door"}\n{"text": "now", "source": "desk"}\n',
    )
    put(
        "triton-words",
        "words.jsonl",
        '{"start": 0.4, "end": 1.1, "text": "so it is"}\n{"end": 1.3, "start": 1.2, "text": "größer"}\n',
    )
    put(
        "lines-series",
        "lines.jsonl",
        '{"time_s": 0.0, "imu": [1, 2], "source": "desk"}\n{"imu": [0.1, -2], "pulse": 61}\n',
    )


def _tables() -> None:
    put("series-csv", "imu.csv", "time_s,x,y\n0.0,1,2\n0.5,3,4\n1.0,5,6\n")
    put(
        "series-csv",
        "several.csv",
        "timestamp_ns,imu.0,imu.1,pulse.0,_note\n1700000000000000000,1,2,61,\n1700000000500000000,3,4,,x\n",
    )
    put(
        "samples-csv",
        "samples.csv",
        "id,split,pulse.0,pulse.1,words,label/load,_note\na,train,61,1,so it is,0.5,first\nb,valid,62,2,,1,\n",
    )
    columns = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
    put("labels", "train_split.csv", f"{columns}\n7,0.333,0.333,0,0,0.333,0\n8,0,0.5,1,0,0,0.25\n")
    stream = io.BytesIO()
    np.savez_compressed(stream, imu=np.ones((4, 2), np.float32), imu_times_s=np.arange(4) / 2)
    put("series-npz", "imu.npz", stream.getvalue())
    stream = io.BytesIO()
    np.savez(stream, values=np.arange(8).reshape(4, 2), rate_hz=np.array(50))
    put("series-npz", "values.npz", stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, np.arange(6, dtype=np.float32).reshape(2, 3))
    put("npy", "token.npy", stream.getvalue())
    for protocol in range(6):
        put("pickle", f"rows-{protocol}.pkl", pickle.dumps(np.ones((3, 2), np.float32), protocol))
    put("pickle", "fortran.pkl", pickle.dumps(np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)), 2))
    event = {"source": "door", "time_s": 2.5, "modality": "audio", "from": "live", "to": "missing", "reason": "silence"}
    loss = {"clip": "00001", "session": "s", "source": "door", "start_s": 0.0, "end_s": 4.0, "losses": [event]}
    files = {"camera": {"file": "losses.jsonl", "start_s": 0.5}}
    put("losses", "losses.jsonl", json.dumps({**loss, "files": files}) + "\n")


_ADDRESSES = """talk.mp4
file:///srv/talk.mp4
door=rtsp://me:secret@door.local:554/1?channel=1&subtype=0
rtsp://h/user=admin_password=X_channel=1.sdp
rtmp://live.example/app/streamkey
srt://10.0.0.1:9000?passphrase=hunter2hunter2&mode=caller
http://u:p@[::1]:8080/a.m3u8;pwd=x#frag
udp://239.0.0.1:5000?localaddr=10.0.0.2
v4l2:/dev/video0
alsa:default
pulse:alsa_input.usb
gst:rtspsrc location=rtsp://c/1 user-id=me user-pw="two words" ! decodebin ! appsink
gst:souphttpsrc location=http://c proxy-pw=abc extra-headers="headers,auth=Basic abc" ! appsink
/dev/video0"""


def _stores() -> None:
    from taemi_edge.corpora.store_lock import LOCK, hold_store
    from taemi_edge.corpora.store_place import LocalPlace
    from tests.corpora.stores import made_up_corpus, write_made_up, write_older

    store = SEEDS.parent / "little_store"
    shutil.rmtree(store, ignore_errors=True)
    write_made_up(LocalPlace(store), made_up_corpus(4), unreadable=["clip 2"])
    put("store-index", "index.json", (store / "index.json").read_bytes())
    put("store-shard", "shard-00000.json", (store / "shard-00000.json").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        older = write_older(store, Path(folder, "older"))
        put("store-index", "older.json", (older / "index.json").read_bytes())
        with hold_store(LocalPlace(older)):
            lock = json.loads((older / LOCK).read_bytes())
    put("store-lock", LOCK, json.dumps({**lock, "host": "desk", "machine": "0 pid:[1]", "process": 7}))


def _addresses() -> None:
    for at, address in enumerate(_ADDRESSES.splitlines()):
        put("address", f"{at:02d}.txt", address)


def _encode(file: Path, codecs: dict[str, str], picture: tuple[int, int] = (32, 32), frames: int = 6) -> None:
    with av.open(str(file), "w") as container:
        container.metadata["title"] = "seed"
        streams = []
        if "video" in codecs:
            stream: Any = container.add_stream(codecs["video"], rate=10)
            stream.width, stream.height = picture
            stream.pix_fmt = "yuvj420p" if codecs["video"] == "mjpeg" else "yuv420p"
            for at in range(frames):
                image = np.full((picture[1], picture[0], 3), at * 40 % 256, np.uint8)
                streams += stream.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
            streams += stream.encode()
        if "audio" in codecs:
            sound: Any = container.add_stream(codecs["audio"], rate=16_000 if codecs["audio"] != "libopus" else 48_000)
            wave = (np.sin(np.arange(sound.rate // 2) / 20) * 8000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.rate = sound.rate
            for piece in av.AudioResampler(sound.format, "mono", sound.rate, sound.frame_size or None).resample(frame):
                streams += sound.encode(piece)
            streams += sound.encode()
        container.mux(sorted(streams, key=lambda packet: float((packet.dts or 0) * packet.time_base)))


def _media() -> None:
    made = {
        "talk.mp4": {"video": "libx264", "audio": "aac"},
        "talk.mkv": {"video": "libx264", "audio": "libopus"},
        "talk.ts": {"video": "mpeg2video", "audio": "mp2"},
        "talk.webm": {"video": "libvpx", "audio": "libopus"},
        "talk.avi": {"video": "mpeg4", "audio": "mp2"},
        "talk.flv": {"video": "flv", "audio": "aac"},
        "sound.wav": {"audio": "pcm_s16le"},
        "sound.ogg": {"audio": "libopus"},
        "sound.mp3": {"audio": "libmp3lame"},
        "sound.flac": {"audio": "flac"},
        "picture.jpg": {"video": "mjpeg"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, codecs in made.items():
            file = Path(folder, name)
            still = name.endswith(".jpg")
            try:
                _encode(file, codecs, frames=1 if still else 6)
            except (av.FFmpegError, ValueError) as error:
                raise SystemExit(f"{name}: {error}") from error
            put("media", name, file.read_bytes())


def _trust() -> None:
    """Keys that were made for this and thrown away, signatures by them, and what a registry answers."""
    from tests.signatures import certificate, signed, write_certificates, write_key

    digests = dict(open_bundle(LITTLE).digests)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        key, public = write_key(folder)
        secret, _ = write_key(folder, "secret", "P-384", "a password")
        authority = certificate("authority", authority=True)
        signer = certificate("signer", authority)
        known = write_certificates(folder / "authority.pem", authority[1]).read_bytes()
        put("trusted-keys", "several.pem", public.read_bytes() + known)
        put("trusted-keys", "key.pem", public.read_bytes())
        put("private-key", "plain.pem", key.read_bytes())
        put("private-key", "encrypted.pem", secret.read_bytes())
        put("signature", "key.sig", signed(read_private_key(key), digests))
        put("signature", "certificate.sig", signed(signer[0], digests, chain=[signer[1]]))
    put("statement", "little.json", statement_of("m", digests))
    sizes = {name: (digest, 100) for name, digest in digests.items()}
    put("artifact", "signed.json", artifact_bytes(sizes, ("0" * 64, 900)))
    put("reference", "tag.txt", "oci://registry.example:5000/models/mine:3")
    put("reference", "digest.txt", f"oci://[::1]:5000/mine@sha256:{'0' * 64}")
    entry = {"auth": "bWU6c2VjcmV0c2VjcmV0"}
    put("credentials", "login.json", json.dumps({"auths": {"registry.example:5000": entry, "https://other/v1/": {}}}))
    put("credentials", "helper.json", json.dumps({"credsStore": "pass", "credHelpers": {"registry.example:5000": "x"}}))


def _page() -> None:
    token = "6f1ed002ab5595859014ebf0951522d9"
    host = "Host: 192.0.2.1:8080\n"
    put("page", "token.txt", f"GET /?token={token} HTTP/1.1\n{host}\n")
    put("page", "bearer.txt", f"GET /metrics HTTP/1.1\n{host}Authorization: Bearer {token}\nAccept: */*\n\n")
    put("page", "wrong.txt", f"GET /?token=guess HTTP/1.1\n{host}Cookie: taemi_edge_token=x; a=b\n\n")
    put("page", "body.txt", f"POST / HTTP/1.1\n{host}Content-Length: 4\n\nabcd\n")
    handshake = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://192.0.2.1:8080\n"
    request = f"GET /live HTTP/1.1\n{host}{handshake}{key}Cookie: taemi_edge_token={token}\n\n"
    put("page", "websocket.txt", request.encode() + b"\n---\n" + bytes.fromhex("818537fa213d7f9f4d5158"))


_SECRETS = """rtsp://me:S3CR3T@cam.local:554/live?channel=1
rtsp://cam.local/user=admin_password=S3CR3T_channel=1.sdp?real_stream
rtmp://live.example/app/S3CR3T
srt://10.0.0.1:9000?passphrase=S3CR3T&mode=caller
rtsp:/me:S3CR3T@cam.local/1
rtsp//me:S3CR3T@cam.local/1
door=http://me:S3CR3T@[::1]:8080/a;pwd=x#S3CR3T
gst:rtspsrc location=rtsp://c/1 user-id=me user-pw="S3CR3T words" ! decodebin ! appsink
gst:souphttpsrc location=http://c proxy-pw=S3CR3T extra-headers="headers,auth=Basic S3CR3T" ! appsink"""


def _secrets() -> None:
    for at, address in enumerate(_SECRETS.splitlines()):
        put("secret", f"{at:02d}.txt", address)


def _sensors() -> None:
    put("sensor-rows", "values.json", '\n{"time_s": 12.4, "values": [0.1, 0, -9.8]}')
    put("sensor-rows", "batch.json", '\n[{"time_s": 1, "values": [1, 2, 3]}, {"time_s": 1.5, "values": [4, 5, 6]}]')
    put("sensor-rows", "fields.json", 'field=a.x,b&time=t.ms&unit=ms\n{"a": {"x": 1}, "b": [2, 3], "t": {"ms": 700}}')
    put("sensor-rows", "times.json", '\n{"time_s": [2.0, 1.0], "values": [[1, 2, 3], [4, 5, 6]]}')
    put("sensor-rows", "line.csv", "time=0&unit=us\n1200, 0.1, 0.0, 9.8\r\n2400; 0.2; 0.0; 9.8\r\n")
    put("sensor-rows", "columns.csv", "format=csv&field=4,2,0\n1 2 3 4 5")
    put("sensor-rows", "packed.bin", b"format=<I3f&time=0&unit=ms\n" + struct.pack("<I3f", 250, 0.1, 0.0, 9.8) * 2)
    put("sensor-words", "plain.txt", "\nso it is größer")
    put("sensor-words", "line.json", '\n{"text": "so it is", "start": 12.4, "end": 13.1}')
    put("sensor-words", "field.json", 'field=a.said&time=t&unit=ns\n{"a": {"said": "so"}, "t": 1700000000123456789}')
    put("sensor-lines", "lines.txt", "\x07,3\n1, 2, 3\r\n\n[4, 5, 6]\n7,")


def main() -> None:
    """Make the seeds of the groups that are named on the command line, or of all."""
    groups = {
        "bundles": _bundles, "recipes": _recipes, "words": _words, "tables": _tables, "stores": _stores,
        "addresses": _addresses, "media": _media, "trust": _trust, "page": _page, "secrets": _secrets,
        "sensors": _sensors,
    }  # fmt: skip
    for name in sys.argv[1:] or groups:
        groups[name]()


if __name__ == "__main__":
    main()
