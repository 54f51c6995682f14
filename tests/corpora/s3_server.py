"""A real S3 server for tests: moto's, in a process of its own, on a free port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

BUCKET = "clips"


@dataclass(frozen=True)
class S3Server:
    """A server that runs. Its root user may do everything; `tests` sets the environment for it."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, folder: str, bucket: str = BUCKET) -> str:
        """The address of a folder, with the server in it."""
        return f"s3://{bucket}/{folder}?endpoint_override={self.url}"

    def client(self) -> Any:
        boto3 = pytest.importorskip("boto3")
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **ROOT)

    def upload(self, folder: Path, to: str) -> None:
        """Put every file of a folder into the bucket."""
        client = self.client()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                client.put_object(Bucket=BUCKET, Key=f"{to}/{file.relative_to(folder)}", Body=file.read_bytes())

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the bucket and below; marks of folders are left out."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{folder}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return [key.removeprefix(f"{folder}/") for key in keys if not key.endswith("/")]

    def contents(self, folder: str) -> dict[str, bytes]:
        """The files in a folder of the bucket and below, by name."""
        client = self.client()
        return {
            name: client.get_object(Bucket=BUCKET, Key=f"{folder}/{name}")["Body"].read() for name in self.names(folder)
        }

    def user(self, *actions: str) -> dict[str, str]:
        """The environment of a new user who may do these things."""
        boto3 = pytest.importorskip("boto3")
        iam = boto3.client("iam", endpoint_url=self.url, region_name="us-east-1", **ROOT)
        name = f"user-{time.monotonic_ns()}"
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def check_rights(self) -> None:
        """From now on the server asks who makes a request; nobody can turn that off again."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        assert connection.getresponse().status == 200
        connection.close()


ROOT = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
ENVIRONMENT = {name.upper(): value for name, value in ROOT.items()} | {"AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server with an empty bucket."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    pytest.importorskip("pyarrow.fs")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = S3Server(process, port)
        wait_for(process, port)
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server that was started accepts connections."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                pytest.fail("the server of the test did not start")
            time.sleep(0.05)
        else:
            return


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Set variables of the environment within the block; those of AWS that are not named are taken out."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
