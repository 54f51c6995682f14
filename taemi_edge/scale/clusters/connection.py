"""Reaching a Ray cluster, or starting one on this machine: within seconds, in silence, and with one sentence if not."""

from __future__ import annotations

import atexit
import fcntl
import importlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from taemi_edge.errors import ClusterError, MissingExtraError, UsageError, first_line
from taemi_edge.scale.clusters.surroundings import (
    environment,
    environment_put_back,
    errors_kept,
    own_signals,
    private,
    quiet_output,
    replaced,
)
from taemi_edge.scale.clusters.watch import HeadWatch, speaks_http2

AUTO, LOCAL, CLIENT = "auto", "local", "ray://"
#: How long a cluster may take to answer at its address, in seconds, and how often Ray asks it then, once a second.
_PATIENCE_S, _TRIES = 3.0, "3"
#: How long Ray may wait in one go for the port of a cluster that starts, in milliseconds.
_STEP_MS = 200
#: How long leaving a cluster may take whose head is lost, in seconds.
_LEAVE_S = 3.0
#: What workers send lies in this memory on its way; tasks and results are lines.
_STORE_BYTES = 100 << 20
#: The path of a socket has at most 107 signs, and Ray adds 70 to that of its folder.
_LONGEST_FOLDER, _PREFIX = 30, "taemi-ray-"
#: What Ray's processes are told so that they listen on the loopback interface alone.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass
class Connection:
    """A connection to a cluster, until it is closed.

    Attributes:
        ray: the module.
        name: what messages call the cluster.
        watch: of its head.
    """

    ray: Any
    name: str
    watch: HeadWatch
    _stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self.watch.close()
        self._stack.close()


def import_ray() -> Any:
    """Give the module `ray`, told to give up soon, which it reads as it is imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with environment({"RAY_NUM_REDIS_GET_RETRIES": os.environ.get("RAY_NUM_REDIS_GET_RETRIES", _TRIES)}):
            import ray
    except ImportError as error:
        raise MissingExtraError(error.name or "ray", "ray", "a Ray cluster (--ray)") from error
    return ray


def connect(address: str, cores: int = 0) -> Connection:
    """Connect to a cluster, or start one on this machine.

    Args:
        address: "auto" for the cluster that this machine belongs to, "local" for a new one on this machine alone,
            "host:port" of a head, or "ray://host:port" of Ray's own server for clients.
        cores: of a new cluster; 0 for those that this process may use.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: that is no address.
        ClusterError: there is no cluster, or it refuses this driver; the message says why.
    """
    _require_form(address)
    ray = import_ray()
    if ray.is_initialized():
        return _connection_of_this_process(ray, address)
    with ExitStack() as stack, own_signals():
        stack.enter_context(environment_put_back())
        stack.enter_context(quiet_output())
        logging.getLogger("ray").setLevel(logging.ERROR)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address == LOCAL:
            _start(ray, cores, stack)
            name = "the Ray cluster of this machine"
        else:
            name = _join(ray, address)
        watch = HeadWatch(name, address.removeprefix(CLIENT) if address.startswith(CLIENT) else _head_of(ray))
        stack.callback(_leave, ray, watch)
        return Connection(ray, name, watch, stack.pop_all())


def _leave(ray: Any, watch: HeadWatch) -> None:
    """Leave a cluster; one whose head is lost without it, for Ray would wait for that until it ends the process."""
    if not watch.answers:
        leaving = threading.Thread(target=ray.shutdown, name="leaving", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)
        if leaving.is_alive():
            atexit.unregister(getattr(private("worker"), "shutdown", ray.shutdown))
        return
    ray.shutdown()


def _head_of(ray: Any) -> str:
    """The address of the head; empty where Ray does not know it, as a client of a cluster elsewhere."""
    with suppress(Exception):
        return str(ray.get_runtime_context().gcs_address)
    return ""


def _connection_of_this_process(ray: Any, address: str) -> Connection:
    """Take the connection that a program has already, and leave it open at the end; Ray allows one in a process."""
    there = _head_of(ray)
    if address not in (AUTO, there):
        raise UsageError(
            f"--ray {address}: this program is connected to the Ray cluster at {there or 'another place'}: give auto"
        )
    name = f"the Ray cluster at {there}" if there else "the Ray cluster of this program"
    return Connection(ray, name, HeadWatch(name, there))


def _require_form(address: str) -> None:
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if address not in (AUTO, LOCAL) and not (host and re.fullmatch(r"\d{1,5}", port) and 0 < int(port) < 65536):
        raise UsageError(f"--ray {address:.100}: expected auto, local, host:port or ray://host:port")


def _start(ray: Any, cores: int, stack: ExitStack) -> None:
    """Start a cluster on this machine, which ends with this process, whatever ends it."""
    folder = stack.enter_context(_short_folder())
    _make_token()
    with environment({"OMP_NUM_THREADS": "1"} | _LOOPBACK), _few_processes(), _own_address(), _short_waits():
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cores or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
                _system_config={"worker_niceness": os.nice(0)},
            )
        except Exception as error:
            raise ClusterError(f"Ray does not start on this machine ({first_line(error)}): give --workers") from error


@contextmanager
def _own_address() -> Iterator[None]:
    """Start a cluster that listens on the loopback interface alone, as Ray does by default on macOS and Windows."""
    with replaced(private("ray_constants"), "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def _few_processes() -> Iterator[None]:
    """Start a cluster without the programs that scale it and collect its logs, which cost two seconds of a processor.

    `ray start` has no option for that, nor has `ray.init`; a Ray that is made otherwise starts them all.
    """
    parameter = private("parameter")
    lean = partial(getattr(parameter, "RayParams", dict), no_monitor=True, include_log_monitor=False)
    with replaced(parameter, "RayParams", lean):
        yield


@contextmanager
def _short_waits() -> Iterator[None]:
    """Let signals end a start: Ray waits for the port of its first server in native code that no signal interrupts.

    A signal to the whole process group ends that server too, which then never tells its port.
    """
    node = private("node")
    wait: Any = getattr(node, "wait_for_persisted_port", None)

    def in_steps(*words: Any, timeout_ms: int = 30_000) -> Any:
        until = time.monotonic() + timeout_ms / 1000
        while time.monotonic() < until:
            try:
                return wait(*words, timeout_ms=_STEP_MS)
            except RuntimeError as error:
                if "imed out" not in str(error):
                    raise
            # here Python runs the handlers of signals
        return wait(*words, timeout_ms=0)

    with replaced(node, "wait_for_persisted_port", in_steps):
        yield


@contextmanager
def _short_folder() -> Iterator[Path]:
    """Give a folder with a short path for Ray's files, and remove what killed drivers left, which nothing locks."""
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_FOLDER:
        base = "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there, for its owner alone
    for left in Path(base).glob(_PREFIX + "????????"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    remove = partial(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(remove)  # Ray ends the processes of an interrupted start at exit, and until then they write
    try:
        with _locked(folder):
            yield folder
    finally:
        remove()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        OSError: another process holds it, or the folder is another user's.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _join(ray: Any, address: str) -> str:
    """Connect to a cluster that runs; gives its address in words."""
    target = _address_of_this_node(ray) if address == AUTO else address
    host, _, port = target.removeprefix(CLIENT).rpartition(":")
    _require_server(address, host.strip("[]"), int(port))
    name = f"the Ray cluster at {target}"
    said = ""
    try:
        with errors_kept() as kept:
            try:
                _show_token(target)
                ray.init(address=target, log_to_driver=False, logging_level=logging.ERROR)
                logging.getLogger("ray.util.client.logsclient").setLevel(logging.ERROR)  # Ray sets it, whatever is told
            finally:
                said = kept()
    except (Exception, SystemExit) as error:
        with suppress(Exception):
            ray.shutdown()
        raise ClusterError(_refusal(name, error, said)) from error
    return name


def _address_of_this_node(ray: Any) -> str:
    """The head of the cluster that this machine belongs to, as Ray knows it."""
    find = getattr(private("services"), "canonicalize_bootstrap_address_or_die", None)
    if find is None:
        raise ClusterError(f"--ray auto: Ray {ray.__version__} does not say where its cluster is: give host:port")
    try:
        return str(find(AUTO))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            "--ray auto: this machine belongs to no Ray cluster: run `ray start` here, or give host:port or local"
        ) from error


def _require_server(address: str, host: str, port: int) -> None:
    """Find out in seconds whether there is a server of the kind that Ray's are: Ray itself would ask for minutes."""
    try:
        expected = speaks_http2(host, port, _PATIENCE_S)
    except OSError as error:
        raise ClusterError(
            f"--ray {address}: no cluster answers at {host}:{port} ({error.strerror or error}): run `ray start --head` "
            f"there, or give another address"
        ) from error
    if not expected:
        raise ClusterError(f"--ray {address}: expected a Ray cluster at {host}:{port}, another server answers there")


def _show_token(address: str) -> None:
    """Use the token that this user has where the cluster asks for one, as Ray does by itself for "auto".

    A driver that uses one on a cluster without tokens would refuse the cluster's own calls.

    Raises:
        Exception: the cluster refuses the token, or does not answer as Ray does.
    """
    try:
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
        from ray.exceptions import AuthenticationError

        connect: Any = importlib.import_module("ray._raylet").GcsClient
    except (ImportError, AttributeError):  # a Ray that knows no tokens, or takes them otherwise
        return
    if not address.startswith(CLIENT):
        try:
            connect(address=address)
            return
        except AuthenticationError:
            pass
    if maybe_enable_token_auth_if_token_available(warn_if_disabled=False) and not address.startswith(CLIENT):
        connect(address=address)


def _make_token() -> None:
    """Guard a cluster of this machine by a token; where the user has none, by one that no file keeps."""
    if "RAY_AUTH_MODE" not in os.environ and not _has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _has_token() -> bool:
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(named) or Path(os.path.expanduser("~/.ray/auth_token")).is_file()


def _refusal(name: str, error: BaseException, said: str) -> str:
    """Why a cluster did not take this driver, from what Ray raised and what its native part wrote meanwhile."""
    text = f"{error} {said}"
    if "uthenticat" in text or "AuthToken" in text:
        return (
            f"{name} refuses this user's token: put the cluster's own into ~/.ray/auth_token, RAY_AUTH_TOKEN or "
            f"RAY_AUTH_TOKEN_PATH"
        )
    if "ersion mismatch" in text:
        versions = re.findall(r"(Ray|Python): ([\w.]+)", text)
        had, here = (", ".join(f"{what} {version}" for what, version in part) for part in (versions[:2], versions[2:4]))
        return f"{name} runs {had}, and this machine {here}: install the same versions on both"
    if "rpc_code: 12" in text:
        return f"expected {name}, another server answers there: give the address that `ray start --head` showed"
    if "find" in text and "node" in text.lower():
        return f"this machine is no node of {name.removeprefix('the ')}: run `ray start --address` here, or give ray://"
    return f"{name} does not take this driver: {first_line(error)}"
