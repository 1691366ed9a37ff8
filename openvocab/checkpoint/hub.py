"""Files of the Hugging Face Hub: whether they can be had, and fetching them by the Hub's own library.

The library caches, takes mirrors (HF_ENDPOINT), proxies and tokens, and goes on where a connection was cut. Around it
lies what it lacks: an answer within a few seconds, and errors of one line. It is imported on demand: it reads its
environment variables then, and what ships with the package needs none of it.
"""

import logging
import os
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.checkpoint.hub_cache import HubFile, cache_root, remove, sha256_in_cache, sha256_or_none
from openvocab.checkpoint.hub_errors import DownloadError, explained
from openvocab.checkpoint.notes import sha256_of
from openvocab.files import existing_part

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "OPENVOCAB_HUB_TIMEOUT"
LIMIT = 10.0
"""Seconds within which the Hub has to say whether it has a file, unless the variable names others."""

# What the library says while it fetches that somebody who waits wants to know, and how we put it (its own lines hold
# signed addresses). Everything else that it says is left out: errors become ours, the rest is advertising.
_TOLD = {
    "Trying to resume": "the connection was cut; going on where it ended",
    "Rate limited": "the server has had too many requests, and asks to wait",
    "acquire lock": "another process is fetching it; waiting",
}


def size_of(file: HubFile) -> int:
    """Asks the Hub for the size of a file.

    Args:
        file: on the Hub.

    Returns:
        Bytes.

    Raises:
        DownloadError: no answer within the limit, or one that gives no size.
    """
    with _quiet(file):
        size = _first_answer(file).size
    if size is None:
        raise DownloadError(f"{file.name}: {file.address}: the server does not say how large the file is")
    return size


def fetch(file: HubFile) -> Path:
    """Fetches a file into the library's cache, and says before how large it is and where it goes.

    A connection that is cut is continued. A second process that wants the same file waits for the first one.

    Args:
        file: on the Hub.

    Returns:
        Its place in the cache.

    Raises:
        DownloadError: it cannot be had; known within the limit, but for what happens on the way.
        ValueError: there is no home folder, or the limit is no number.
    """
    folder, seconds = cache_root(), limit()
    from huggingface_hub import hf_hub_download

    with _quiet(file):
        known = _first_answer(file)
        size = known.size
        _require_space(file, folder, size)
        # A warning, because this takes minutes and disk, and programs that log nothing else show warnings.
        logger.warning("fetching %s: %s from %s into %s", file.name, _megabytes(size), file.address, folder)
        with _explaining(file):
            path = Path(hf_hub_download(file.repo_id, file.file_name, repo_type=file.repo_type, etag_timeout=seconds))
    compare(file, path, known.etag)
    return path


def compare(file: HubFile, path: Path, etag: str | None = None) -> None:
    """Compares a file in the cache with the hash that the Hub published, if it did; one that differs is removed.

    Args:
        file: on the Hub.
        path: in the cache.
        etag: what the Hub has just said; None takes what the cache holds of it.

    Raises:
        DownloadError: the file is another one.
    """
    published = sha256_in_cache(path) if etag is None else sha256_or_none(etag)
    if published is None or (digest := sha256_of(path)) == published:
        return
    wrong = f"{file.name}: {path} is not what {file.address} published (expected sha256 {published}, got {digest})"
    try:
        remove(path)
    except OSError as error:
        raise DownloadError(f"{wrong}, and cannot be removed ({error.strerror}): remove it") from error
    raise DownloadError(f"{wrong}, and was removed: run the same command again")


def limit() -> float:
    """Gives the seconds within which the Hub has to answer the first request.

    Raises:
        ValueError: the variable holds no number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(LIMIT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError(f"{LIMIT_VARIABLE}: expected seconds above 0, got {text!r}")
    return seconds


def _first_answer(file: HubFile) -> "HfFileMetadata":
    """Asks what the Hub knows of a file, in a thread that is left behind when the time is over.

    The library's own limit counts for each step of a connection anew, and not at all for finding an address or for a
    server that sends a byte every few seconds.
    """
    seconds, address, answer = limit(), file.address, Future()
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import FileMetadataError

    def ask() -> None:
        try:
            answer.set_result(get_hf_file_metadata(address, timeout=seconds + 1))  # ours is over first, and explained
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=ask, name="first request to the hub", daemon=True).start()
    with _explaining(file):
        metadata = answer.result(seconds)
        if metadata.commit_hash is None or metadata.etag is None:
            raise FileMetadataError("no X-Repo-Commit or ETag in its headers")
    return metadata


@contextmanager
def _explaining(file: HubFile) -> Iterator[None]:
    """Turns what the library raises into a DownloadError."""
    from huggingface_hub.errors import HTTPError  # the base of all errors of the network, of whatever package

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # the last two: its storage service
        raise DownloadError(f"{file.name}: {file.address}: {explained(error, limit())}") from error


@contextmanager
def _quiet(file: HubFile) -> Iterator[None]:
    """Keeps the library's lines and warnings from the user; says itself what is worth waiting for."""
    from huggingface_hub.utils.logging import get_logger  # whose import gives the library's logger a handler

    library = get_logger("huggingface_hub")
    before = library.handlers, library.propagate, library.level
    library.handlers, library.propagate = [_Told(file.name)], False
    library.setLevel(logging.INFO)  # of waiting for another process it speaks at that level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"huggingface_hub\b")
            yield
    finally:
        library.handlers, library.propagate = before[:2]
        library.setLevel(before[2])


class _Told(logging.Handler):
    """Passes on, in our words, what the library says of waiting."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        seconds = re.search(r"Waiting ([\d.]+)s", text)
        for part, told in _TOLD.items():
            if part in text:
                logger.warning("%s: %s%s", self._name, told, f" for {seconds[1]} s" if seconds else "")


def _require_space(file: HubFile, folder: Path, size: int | None) -> None:
    """The library only warns of a disk that is too small, and fails when it is full."""
    place = existing_part(folder)
    free = shutil.disk_usage(place).free
    if size is not None and size > free:
        raise DownloadError(
            f"{file.name}: {file.address}: {_megabytes(size)} do not fit on the disk of {place}, where "
            f"{_megabytes(free)} are free: free some, or set HF_HOME or HF_HUB_CACHE to a folder on another disk"
        )


def _megabytes(size: int | None) -> str:
    return "a file of unknown size" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size} bytes"
