"""Ray, started for one run on this machine or joined where it runs, with few words and an end."""

import glob
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ANSWER_LIMIT = 30.0
"""Seconds within which an address has to answer; Ray itself asks for two minutes."""

_STORE = 100 << 20  # bytes of Ray's shared memory; paths and counts go through it, no pictures and no masks
_SHORT = 20  # letters of a folder for temporary files
_LEAVING = 20.0  # seconds that processes may take to end


@contextmanager
def ray_session(address: str | None) -> Iterator[list[dict[str, Any]]]:
    """Starts Ray on this machine, or joins it; what was started here ends with the block.

    Args:
        address: of a head node, HOST:PORT or "auto"; None: that of RAY_ADDRESS, else Ray is started here.

    Yields:
        The resources of each machine.

    Raises:
        ValueError: no Ray answers there, within `ANSWER_LIMIT`.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    _be_quiet()
    if address is not None:
        _check_address(address)
        with _joined(address=address) as nodes:
            yield nodes
        return
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # otherwise Ray puts one into the home folder
    # The names of Ray's sockets lie below it, and a socket's name has room for a hundred letters.
    place = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _SHORT else "/tmp"
    with tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True) as folder:
        before, started = _descendants(), set()
        try:
            with _joined(address="local", include_dashboard=False, object_store_memory=_STORE, _temp_dir=folder
                         ) as nodes:  # fmt: skip
                try:
                    yield nodes
                finally:
                    started = _descendants() - before
        finally:
            _wait_for_end(started)


def last_line(error: BaseException | str) -> str:
    """Gives what a long report says in the end.

    Args:
        error: or its text.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _joined(**options: Any) -> Iterator[list[dict[str, Any]]]:
    import ray
    from ray.exceptions import RayError

    try:
        try:
            with _silence():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (RuntimeError, OSError, RayError) as error:
            raise ValueError(f"--engine ray: Ray does not start: {last_line(error)}") from error
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _be_quiet() -> None:
    """Sets what Ray reads when it is imported, started or logs; what the user has set stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is about Ray's own affairs, as are retries
    os.environ.setdefault("RAY_enable_output_error_log_if_still_retry", "0")


@contextmanager
def _silence() -> Iterator[None]:
    """Sends nowhere what libraries in C++ print on standard error: how they log. Errors come as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_address(address: str) -> None:
    if "://" in address:
        raise ValueError(f"--ray-address: got {address}, expected HOST:PORT of a head node, or auto")
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False)"
    try:
        tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=ANSWER_LIMIT,
                               check=False)  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"--ray-address: no Ray answers at {address} within {ANSWER_LIMIT:g} s, expected a head node "
            "(`ray start --head` says its address)"
        ) from error
    if tried.returncode:
        raise ValueError(f"--ray-address: cannot join Ray at {address}: {last_line(tried.stderr)}")


def _wait_for_end(started: set[int]) -> None:
    """Waits for the processes of a session that was started here: they end a moment after it."""
    deadline = time.monotonic() + _LEAVING
    while time.monotonic() < deadline and started & {number for number, _ in _running()}:
        time.sleep(0.1)


def _descendants() -> set[int]:
    """Finds the processes that this one has started, and those that they have."""
    running, found = list(_running()), {os.getpid()}
    while more := {number for number, parent in running if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _running() -> Iterator[tuple[int, int]]:
    """Yields each process and its parent; without /proc, which other systems lack, none."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, parent = Path(path).read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(path.split("/")[2]), int(parent)
