"""What Kubernetes and KServe say of a manifest, by the schemas that two packages of PyPI carry.

The packages are downloaded by hash, read and never installed. Kubernetes' part is complete: its own JSON schemas, those
that refuse unknown fields. Of KServe there is no schema to be had offline, but the fields and types of its own models,
which are generated of its API; limits of values are not in them.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KUBERNETES = (
    "kubernetes-validate==1.37.0",
    "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9",
)
KSERVE = ("kserve==0.21.0", "df9bc5888704d9085015e08f1a8fced5ff0698f3becc6212d4e7b8234c71623b")

#: How the schemas of Kubernetes call the file of what they share.
_DEFINITIONS = "/api/_definitions.json"
#: What these names of KServe's models stand for in JSON.
_PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "ResourceQuantity": object}


def wheel(requirement: str, sha256: str) -> zipfile.ZipFile:
    """A package as it lies in the user's cache, or as the registry gives it; without either the test is skipped."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "test-manifests"
    name = requirement.replace("-", "_").replace("==", "-")
    if not list(cache.glob(f"{name}-*.whl")):
        cache.mkdir(parents=True, exist_ok=True)
        pins = cache / f"{name}.{os.getpid()}.txt"
        pins.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        command += ["--python-version", "3.11", "--require-hashes", "-d", str(cache), "-r", str(pins)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        pins.unlink()
        if done.returncode:
            pytest.skip(f"{requirement} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")
    return zipfile.ZipFile(next(cache.glob(f"{name}-*.whl")))


class Kubernetes:
    """The schemas of one version of Kubernetes, such as 1.31."""

    def __init__(self, schemas: zipfile.ZipFile, version: str) -> None:
        self._folder = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"
        self._schemas = schemas
        self._definitions = json.loads(schemas.read(f"{self._folder}/_definitions.json"))

    def problems(self, resource: dict[str, Any]) -> list[str]:
        """What is wrong with a resource of Kubernetes' own kinds."""
        kind, version = resource["kind"].lower(), resource["apiVersion"].replace("/", "-")
        return self._problems(json.loads(self._schemas.read(f"{self._folder}/{kind}-{version}.json")), resource)

    def problems_of_type(self, name: str, value: Any) -> list[str]:
        """What is wrong with a part of one, such as a V1Container."""
        found = [key for key in self._definitions["$defs"] if key == f"io.k8s.api.core.v1.{name[2:]}"]
        return self._problems({"$ref": f"{_DEFINITIONS}#/$defs/{found[0]}"}, value) if found else [f"no {name}"]

    def _problems(self, schema: dict[str, Any], value: Any) -> list[str]:
        jsonschema = pytest.importorskip("jsonschema", reason="checks manifests")
        referencing = pytest.importorskip("referencing", reason="checks manifests")
        draft = referencing.jsonschema.DRAFT202012
        registry = referencing.Registry().with_resource(_DEFINITIONS, draft.create_resource(self._definitions))
        validator = jsonschema.Draft202012Validator(schema, registry=registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


class KServe:
    """The models of KServe's API; parts that are Kubernetes' are checked by its schemas."""

    def __init__(self, package: zipfile.ZipFile, kubernetes: Kubernetes) -> None:
        self._package, self._kubernetes = package, kubernetes

    def problems(self, resource: dict[str, Any]) -> list[str]:
        """What is wrong with a resource of KServe's kinds."""
        version = resource["apiVersion"].removeprefix("serving.kserve.io/")
        return list(self._check(f"{version.capitalize()}{resource['kind']}", resource, resource["kind"]))

    def _check(self, kind: str, value: Any, where: str) -> Iterator[str]:
        if inner := re.fullmatch(r"list\[(.*)\]", kind):
            for number, each in enumerate(value):
                yield from self._check(inner[1], each, f"{where}[{number}]")
        elif inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
            for name, each in value.items():
                yield from self._check(inner[1], each, f"{where}.{name}")
        elif kind in _PLAIN:
            if not isinstance(value, _PLAIN[kind]):  # type: ignore[arg-type]
                yield f"{where}: expected {kind}, got {value!r}"
        elif kind.startswith(("V1alpha1", "V1beta1")):
            fields = self._fields(kind)
            for name, each in value.items():
                if name not in fields:
                    yield f"{where}: {kind} has no {name}"
                else:
                    yield from self._check(fields[name], each, f"{where}.{name}")
        elif kind != "V1ObjectMeta":
            yield from (f"{where}: {problem}" for problem in self._kubernetes.problems_of_type(kind, value))

    def _fields(self, kind: str) -> dict[str, str]:
        """The type of each field of a model by its name in JSON."""
        file = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()
        tree = ast.parse(self._package.read(f"kserve/models/{file}.py"))
        found = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if node.targets[0].id in ("openapi_types", "attribute_map")
        }
        return {json_name: found["openapi_types"][name] for name, json_name in found["attribute_map"].items()}
