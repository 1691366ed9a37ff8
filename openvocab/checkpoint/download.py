"""Fetches one large file: resumable, checked, never half-written in its place; standard library plus a progress bar."""

import errno
import hashlib
import http.client
import json
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20  # bytes read at once
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(RuntimeError):
    """A file could not be fetched; the message says why, from where, and what to do."""


class _Cut(Exception):
    """The connection ended before the file did: worth another attempt."""


@dataclass(frozen=True)
class _State:
    """What is known about a partly fetched file, which may be continued only if the server still has that very file."""

    url: str
    validator: str  # ETag or Last-Modified; "" if the server gave neither
    size: int  # bytes; -1 if unknown


def sha256_of(path: str | os.PathLike) -> str:
    """Gives the SHA-256 of a file's content.

    Args:
        path: the file.

    Returns:
        64 lower-case hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    target: str | os.PathLike,
    *,
    sha256: str | None = None,
    retries: int = 5,
    backoff: float = 1.0,
    timeout: float = 30.0,
    progress: bool = True,
) -> str:
    """Fetches `url` into the file `target`, which appears whole and checked or not at all.

    The bytes go to TARGET.part, which a later call continues if the server's ETag (or Last-Modified) is unchanged and
    it serves ranges; otherwise the file is fetched from its beginning. A second process that wants the same file waits
    for the first one and then uses what it fetched.

    Args:
        url: where the file is.
        target: where it goes; missing folders are made. An existing file is checked and not fetched again.
        sha256: expected hash, 64 hexadecimal digits; None checks the size only.
        retries: attempts in a row that may fail without one byte more.
        backoff: seconds before the second attempt; doubled for each further one, at most 30.
        timeout: seconds without any byte after which a connection counts as cut.
        progress: whether a bar is drawn on stderr.

    Returns:
        the SHA-256 of the file.

    Raises:
        DownloadError: the server refuses, the connection is cut again and again, the disk is full, or the hash differs.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target):
            if not target.exists():
                _fetch(url, target, retries, backoff, timeout, progress)
                return _publish(url, target, sha256)
    except OSError as error:
        raise _local_error(url, target, error) from error
    digest = sha256_of(target)
    if sha256 is not None and digest != sha256.lower():
        raise DownloadError(f"{target}: expected sha256 {sha256}, got {digest}; delete the file to fetch it again")
    return digest


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Lets one process at a time fetch a file. The system frees the lock if the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock; the final rename still keeps the target whole
        yield
        return
    with open(target.with_name(target.name + ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another process is fetching %s; waiting for it", target)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(url: str, target: Path, retries: int, backoff: float, timeout: float, progress: bool) -> None:
    """Repeats `_attempt` until TARGET.part is complete."""
    part = _part(target)
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(url, target, timeout, progress)
            return
        except _Cut as error:
            grown = part.exists() and part.stat().st_size > before
            failures = 0 if grown else failures + 1
            if failures > retries:
                raise DownloadError(
                    f"{url}: gave up after {failures} attempts ({error}); what was fetched is kept in {part}, "
                    "run the same command again to continue"
                ) from error
            pause = min(30.0, backoff * 2 ** max(0, failures - 1))
            logger.warning("%s: %s; trying again in %.1f s", url, error, pause)
            time.sleep(pause)


def _attempt(url: str, target: Path, timeout: float, progress: bool) -> None:
    """Fetches what is missing in TARGET.part with one request; raises _Cut if the request ends early."""
    state = _resumable(url, target)
    offset = _part(target).stat().st_size if state is not None else 0
    if state is not None and state.size == offset:
        return  # a process died between the last byte and the rename
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "openvocab"})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", state.validator)
        with urllib.request.urlopen(request, timeout=timeout) as response:
            _receive(response, url, target, offset, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: it belongs to another one
            _part(target).unlink(missing_ok=True)
            raise _Cut("the server no longer has the range") from error
        if error.code in _RETRIED_STATUS:
            raise _Cut(f"HTTP {error.code} {error.reason}") from error
        raise DownloadError(f"{url}: HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, (socket.gaierror, ssl.SSLCertVerificationError)):  # no second attempt mends these
            raise DownloadError(f"{url}: no connection ({error.reason})") from error
        raise _Cut(str(error.reason)) from error
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error
    except ValueError as error:  # urllib's word for a malformed address
        raise DownloadError(f"{url}: {error}") from error


def _receive(response: http.client.HTTPResponse, url: str, target: Path, offset: int, progress: bool) -> None:
    part = _part(target)
    length = int(response.headers.get("Content-Length", -1))
    if response.status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            part.unlink(missing_ok=True)
            raise _Cut("the server sent another range than asked for")
    else:
        offset = 0  # no range support, or the file has changed
    size = offset + length if length >= 0 else -1
    _check_space(target, length)
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if not offset:
        # The old part goes first: were the process to die in between, the new state must not vouch for old bytes.
        part.unlink(missing_ok=True)
        _state_file(target).write_text(json.dumps(asdict(_State(url, validator, size))))
    total = size if size >= 0 else None
    bar = tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=target.name, disable=not progress)
    with open(part, "ab" if offset else "wb") as file, bar:
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    got = part.stat().st_size
    if size >= 0 and got < size:
        raise _Cut(f"the connection was cut after {got} of {size} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Reads a piece. Whatever fails here is the network's doing; an OSError outside is the disk's."""
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _resumable(url: str, target: Path) -> _State | None:
    """Gives what vouches for the bytes in TARGET.part; None to begin again."""
    part, state_file = _part(target), _state_file(target)
    if not part.exists() or not state_file.exists():
        return None
    try:
        state = _State(**json.loads(state_file.read_text()))
    except (ValueError, TypeError):
        return None
    # A weak ETag promises equal meaning, not equal bytes; servers refuse it in If-Range.
    if state.url != url or not state.validator or state.validator.startswith("W/"):
        return None
    return None if 0 <= state.size < part.stat().st_size else state


def _publish(url: str, target: Path, sha256: str | None) -> str:
    """Checks TARGET.part and renames it."""
    part = _part(target)
    digest = sha256_of(part)
    if sha256 is not None and digest != sha256.lower():
        part.unlink()
        _state_file(target).unlink(missing_ok=True)
        raise DownloadError(f"{url}: expected sha256 {sha256}, got {digest}; the file was thrown away")
    os.replace(part, target)
    _state_file(target).unlink(missing_ok=True)
    return digest


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")


def _local_error(url: str, target: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"{url}: the disk of {target.parent} is full ({error.strerror}); free some space and run the same command "
            "again, or move the cache folder with OPENVOCAB_CACHE"
        )
    return DownloadError(f"{url}: cannot write {target} ({error.strerror or error})")


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _state_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")
