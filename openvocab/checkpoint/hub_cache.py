"""The cache that the Hugging Face Hub's library keeps on this disk; nothing here makes a request.

The library is imported on demand: it reads its environment variables then, and what ships with the package needs none
of it.
"""

import logging
import os
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)


def constants() -> ModuleType:
    """Imports what the library has read from its environment.

    Raises:
        ValueError: HF_ENDPOINT is no address, of which the library makes an error while it is imported, or later one
            that does not name the variable.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "https://default")
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half of an IPv6 address
        usable = False
    if not usable:
        raise ValueError(f"HF_ENDPOINT: expected an address such as https://mirror.example, got {endpoint!r}")
    from huggingface_hub import constants

    return constants


class HubFile(NamedTuple):
    """One file on the Hub.

    Attributes:
        name: of the model, for messages.
        repo_id: owner and repository.
        repo_type: "model", "space" or "dataset".
        file_name: inside the repository.
    """

    name: str
    repo_id: str
    repo_type: str
    file_name: str

    @property
    def address(self) -> str:
        """Where it is served, with the endpoint that HF_ENDPOINT names."""
        constants()
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo_id, self.file_name, repo_type=self.repo_type)


def cache_root() -> Path:
    """Gives the folder of the library's cache (HF_HUB_CACHE, else HF_HOME/hub). Nothing is created.

    Raises:
        ValueError: there is no home folder, and the library would make one that is called "~"; or as `constants`.
    """
    folder = constants().HF_HUB_CACHE
    if folder.startswith("~"):
        raise ValueError(f"cache: there is no home folder for {folder}, expected HF_HOME to name a folder")
    return Path(folder)


def cached(file: HubFile) -> Path | None:
    """Finds a file in the library's cache, without any request.

    Args:
        file: on the Hub.

    Returns:
        Its place, or None where it is not there, or the cache cannot be read.
    """
    try:
        cache_root()
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(file.repo_id, file.file_name, repo_type=file.repo_type)
    except (ValueError, OSError) as error:
        logger.info("%s: no cache that can be read (%s)", file.name, error)
        return None
    return Path(found) if isinstance(found, str) else None  # else: the library knows that there is no such file


def sha256_in_cache(path: Path) -> str | None:
    """Gives the hash that the Hub published for a file in the library's cache.

    The library names a blob by its ETag, which is the SHA-256 of a large file (LFS), and links to it. That blob may be
    a link itself, into a store that is shared by repositories and has names of another kind: one link is followed.

    Args:
        path: from `cached` or `fetch`.

    Returns:
        64 hexadecimal digits, or None: a small file, a mirror with ETags of its own, or a disk without links.
    """
    return sha256_or_none(os.path.basename(os.readlink(path))) if path.is_symlink() else None


def sha256_or_none(etag: str) -> str | None:
    """Gives an ETag where it is a SHA-256, as those of large files are."""
    return etag if re.fullmatch("[0-9a-f]{64}", etag) else None


def remove(path: Path) -> None:
    """Removes a file from the library's cache, with everything that its links lead to.

    Args:
        path: from `cached` or `fetch`.

    Raises:
        OSError: the cache cannot be written.
    """
    while True:
        target = path.parent / os.readlink(path) if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is None:
            return
        path = target
