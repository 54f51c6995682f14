"""Pushing and pulling bundles with a real registry."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys

import msgspec
import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.bundle.folder import open_bundle, read_manifest, sha256_of, write_manifest
from taemi_edge.errors import OutputError, RegistryError, SignatureError
from taemi_edge.fleet.pull import pull_bundle
from taemi_edge.fleet.push import push_bundle
from taemi_edge.fleet.registry import Access

#: The password "secret-word" of "me" by bcrypt, as `htpasswd -Bbn -C 5 me secret-word` writes it.
HTPASSWD = "me:$2y$05$fgLCwh1Fo7gGWpqG5JIAq.FYwA6LA7rDT0DQiXA0pBQ9RtUTdYPeu\n"


def test_a_bundle_comes_back_as_it_was(registry, tiny_folder, tmp_path):
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/tiny:1")
    pulled = pull_bundle(str(pushed.reference), tmp_path / "tiny")
    assert {file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()} == {
        file.name: file.read_bytes() for file in tiny_folder.iterdir()
    }
    assert pulled.bundle.folder == tmp_path / "tiny"
    assert pulled.reference == pushed.reference
    assert (
        pulled.fetched_bytes == pushed.sent_bytes - len(b"{}") == sum(f.stat().st_size for f in tiny_folder.iterdir())
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tiny"]


def test_an_altered_blob_is_refused_and_the_old_folder_stays(registry, tiny_folder, tmp_path):
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/altered:1")
    blob = registry.blob(sha256_of(tiny_folder / "vision.onnx"))
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "vision.onnx").unlink()
    try:
        with pytest.raises(RegistryError, match=r"'vision.onnx' is not the file that was pushed"):
            pull_bundle(str(pushed.reference), tmp_path / "tiny")
    finally:
        blob.write_bytes(whole)
    assert not (tmp_path / "tiny" / "vision.onnx").exists()
    pull_bundle(str(pushed.reference), tmp_path / "tiny")
    assert (tmp_path / "tiny" / "vision.onnx").read_bytes() == whole


def test_what_is_there_is_not_sent_again(registry, tiny_folder, tmp_path):
    first = push_bundle(tiny_folder, f"oci://{registry.host}/models/again:1")
    second = push_bundle(tiny_folder, f"oci://{registry.host}/models/again:2")
    assert second.sent_bytes == 0
    assert first.reference == second.reference, "the digest depends on the bundle alone"


def test_what_stock_oras_pushes_can_be_pulled_and_the_other_way(registry, tiny_folder, tmp_path):
    """`oras` for Python, as others use it."""
    client = pytest.importorskip("oras.client").OrasClient(hostname=registry.host, insecure=True)
    files = [str(file) for file in tiny_folder.iterdir()]
    client.push(f"{registry.host}/models/stock:1", files=files, disable_path_validation=True, quiet=True)
    pull_bundle(f"oci://{registry.host}/models/stock:1", tmp_path / "ours")
    push_bundle(tiny_folder, f"oci://{registry.host}/models/ours:1")
    client.pull(f"{registry.host}/models/ours:1", outdir=str(tmp_path / "theirs"))
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
            file.name: file.read_bytes() for file in tiny_folder.iterdir()
        }


def signed_bundle(tiny_folder, folder):
    """A copy of the tiny bundle with its signature, and the keys: of who signed it, and of somebody else."""
    pytest.importorskip("cryptography", reason="signatures need the extra `fleet`")
    from taemi_edge.fleet.signing import make_key, sign_bundle

    shutil.copytree(tiny_folder, folder / "source")
    ours, _ = make_key(folder / "ours")
    theirs, _ = make_key(folder / "theirs")
    sign_bundle(folder / "source", folder / "ours")
    return folder / "source", ours, theirs


def test_the_signature_travels_along(registry, tiny_folder, tmp_path):
    source, ours, theirs = signed_bundle(tiny_folder, tmp_path)
    there = f"oci://{registry.host}/models/signed:1"
    assert push_bundle(source, there, require_signature=ours).signed
    with pytest.raises(SignatureError):
        push_bundle(source, there, require_signature=theirs)
    output = tmp_path / "device" / "tiny"
    with pytest.raises(SignatureError) as caught:
        pull_bundle(there, output, require_signature=theirs)
    assert ".pull" not in str(caught.value)
    assert list(output.parent.iterdir()) == []
    pulled = pull_bundle(there, output, require_signature=ours)
    assert pulled.bundle.signed_by is not None
    assert open_bundle(output, require_signature=ours).digests == pulled.bundle.digests
    assert pulled.bundle.read("manifest.json") == (output / "manifest.json").read_bytes()
    assert sorted(entry.name for entry in output.parent.iterdir()) == ["tiny", "tiny.sig"]


def test_the_signature_of_other_files_is_not_pushed(registry, tiny_folder, tmp_path):
    """A bundle was signed, exported again, and not signed again."""
    source, _, _ = signed_bundle(tiny_folder, tmp_path)
    there = f"oci://{registry.host}/models/stale:1"
    write_manifest(source, msgspec.structs.replace(read_manifest(source), trained_on="other clips"))
    with pytest.raises(SignatureError, match=r"source\.sig: .*changed 'manifest\.json'.*sign it again"):
        push_bundle(source, there)
    (tmp_path / "source.sig").write_text("{}")
    with pytest.raises(SignatureError, match=r"source\.sig: expected dsseEnvelope"):
        push_bundle(source, there)


def test_a_signature_belongs_to_the_bundle_that_stands_there(registry, tiny_folder, tmp_path):
    source, ours, _ = signed_bundle(tiny_folder, tmp_path)
    there, output = f"oci://{registry.host}/models/pair", tmp_path / "device" / "tiny"
    push_bundle(source, f"{there}:signed")
    push_bundle(tiny_folder, f"{there}:unsigned")
    pull_bundle(f"{there}:signed", output)
    with pytest.raises(SignatureError):
        pull_bundle(f"{there}:unsigned", output, require_signature=ours)
    open_bundle(output, require_signature=ours)
    pull_bundle(f"{there}:unsigned", output)
    assert not output.with_name("tiny.sig").exists()


def test_the_old_signature_comes_back_where_the_folder_cannot_be_replaced(registry, tiny_folder, tmp_path, monkeypatch):
    source, _, _ = signed_bundle(tiny_folder, tmp_path)
    there, output = f"oci://{registry.host}/models/back:1", tmp_path / "device" / "tiny"
    push_bundle(source, there)
    shutil.copytree(tiny_folder, output)
    output.with_name("tiny.sig").write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("taemi_edge.bundle.atomic._replace", fail)
    with pytest.raises(OutputError, match="no space left"):
        pull_bundle(there, output)
    assert output.with_name("tiny.sig").read_text() == "old"
    monkeypatch.undo()


def test_a_link_stays_a_link(registry, tiny_folder, tmp_path):
    source, ours, _ = signed_bundle(tiny_folder, tmp_path)
    there = f"oci://{registry.host}/models/link:1"
    push_bundle(source, there)
    root = tmp_path / "root"
    shutil.copytree(tiny_folder, root / "store" / "1")
    (root / "current").symlink_to("store/1")
    pull_bundle(there, root / "current", require_signature=ours)
    assert (root / "current").is_symlink()
    assert (root / "store" / "1.sig").is_file()
    open_bundle(root / "current", require_signature=ours)


@pytest.fixture(scope="module")
def guarded(start_registry, tmp_path_factory):
    """A registry with a password and a certificate of its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, from tools/install_test_servers.sh")
    folder = tmp_path_factory.mktemp("tls")
    certify = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ours"
    certify += " -keyout ca.key -out ca.pem"
    certify += " -addext basicConstraints=critical,CA:TRUE -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(certify.split(), cwd=folder, check=True, capture_output=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    tls = f", tls: {{certificate: {folder}/ca.pem, key: {folder}/ca.key}}"
    auth = f"auth: {{htpasswd: {{realm: ours, path: {folder}/htpasswd}}}}\n"
    return start_registry(http=tls, auth=auth), folder / "ca.pem"


def logged_in(folder, host, word="secret-word"):
    pair = base64.b64encode(f"me:{word}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
    return pair


def test_a_password_and_a_certificate_of_our_own(guarded, tiny_folder, tmp_path):
    registry, authority = guarded
    access = Access(ca_file=authority)
    logged_in(tmp_path / "no-docker", registry.host)
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/tiny:1", access=access)
    pull_bundle(str(pushed.reference), tmp_path / "tiny", access=access)
    logged_in(tmp_path / "no-docker", registry.host, "wrong-word")
    with pytest.raises(RegistryError, match="401") as caught:
        pull_bundle(str(pushed.reference), tmp_path / "again", access=access)
    assert "config.json" in str(caught.value)
    assert "wrong-word" not in str(caught.value)
    (tmp_path / "no-docker" / "config.json").unlink()
    with pytest.raises(RegistryError, match="log in with `docker login"):
        pull_bundle(str(pushed.reference), tmp_path / "again", access=access)
    with pytest.raises(RegistryError, match=r"its certificate is not accepted \(self.signed certificate\)"):
        pull_bundle(str(pushed.reference), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_the_commands_show_the_digest_and_no_password(guarded, cli, tiny_folder, tmp_path):
    registry, authority = guarded
    pair = logged_in(tmp_path / "no-docker", registry.host)
    there = f"oci://{registry.host}/models/shown:1"
    pushed = cli("push", tiny_folder, there, "--ca-file", authority, "--json", tmp_path / "pushed.json")
    assert pushed.returncode == 0, pushed.stderr
    digest, line = pushed.stdout.splitlines()[1:3]
    assert json.loads((tmp_path / "pushed.json").read_text())["digest"] == digest
    assert line == f"taemi-edge pull oci://{registry.host}/models/shown@{digest} --output {tiny_folder.name}"
    words = line.split()[1:-1]
    pulled = cli(*words, tmp_path / "pulled", "--ca-file", authority)
    assert pulled.returncode == 0, pulled.stderr
    logged_in(tmp_path / "no-docker", registry.host, "wrong-word")
    refused = cli(*words, tmp_path / "pulled", "--ca-file", authority)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(f"taemi-edge: {registry.host}: expected the manifest of")
    told = "".join(done.stdout + done.stderr for done in (pushed, pulled, refused))
    assert "Traceback" not in told
    assert not [word for word in (pair, "secret-word", "wrong-word", "Basic") if word in told]


def test_a_killed_pull_leaves_the_old_folder_and_the_next_goes_on(registry, tiny_folder, tmp_path):
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/killed:1")
    old = tmp_path / "tiny"
    old.mkdir()
    script = (
        "import os, sys\nfrom taemi_edge.fleet.pull import pull_bundle\n"
        "class Killing:\n"
        "    calls = 0\n"
        "    def stage(self, text): pass\n"
        "    def count(self, done, total, what):\n"
        "        self.calls += 1\n"
        "        if self.calls == 4: os.kill(os.getpid(), 9)\n"
        f"pull_bundle({str(pushed.reference)!r}, {str(old)!r}, progress=Killing())\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert list(old.iterdir()) == []
    pulled = pull_bundle(str(pushed.reference), old)
    assert pulled.reused_bytes > 0
    assert (old / "manifest.json").is_file()
