"""Uploaded pictures: one per request, under names that cannot be guessed, deleted an hour after their last use."""

import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from openvocab.web.limits import Limits

_KEPT = 3600  # seconds
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")


class Uploads:
    """A folder of pictures, within the limits of the server whatever is sent at the same time.

    Attributes:
        folder: temporary.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Takes over a folder.

        Args:
            folder: temporary; what lies there already stays.
            limits: `upload_bytes` of a picture, `disk_bytes` of all.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._limits = limits
        self._sizes: dict[Path, int] = {}
        self._coming = 0  # bytes that requests of this moment may bring
        self._lock = threading.Lock()

    def find(self, path: str) -> Path | None:
        """Gives an uploaded picture, which counts as used; None for any other path, or where it was deleted.

        Args:
            path: from a browser, so anything.
        """
        if "\0" in path or not Path(path).resolve().is_relative_to(self.folder) or not os.path.isfile(path):
            return None
        os.utime(path)
        return Path(path)

    async def take(self, request: Request) -> Response:
        """Answers the request that brings a picture.

        Args:
            request: multipart, with one file.

        Returns:
            A list with its path, as Gradio's part in the browser expects it, or a line that says why not.
        """
        self.delete_old()
        most = int(request.headers.get("content-length") or self._limits.upload_bytes)
        with self._lock:
            if sum(self._sizes.values()) + self._coming + most > self._limits.disk_bytes:
                return _told(503, "too many pictures at the moment: try again in some minutes")
            self._coming += most
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                files = [part for part in form.values() if not isinstance(part, str)]
                if not files or files[0].size is None:
                    return _told(400, "picture: expected one file, got none")
                if files[0].size > self._limits.upload_bytes:
                    return _told(413, f"picture: expected at most {self._limits.upload_bytes >> 20} MB")
                return JSONResponse([self._keep(files[0].file, files[0].filename or "", files[0].size)])
        except HTTPException as error:  # what Starlette makes of a form that is none, or has more parts
            return _told(400, f"picture: {error.detail}")
        except OSError as error:
            return _told(507, f"picture: cannot be kept ({error.strerror})")
        finally:
            with self._lock:
                self._coming -= most

    def delete_old(self) -> None:
        """Deletes what nobody has asked about for an hour."""
        with self._lock:
            for path in [path for path in self._sizes if not _is_used(path)]:
                shutil.rmtree(path.parent, ignore_errors=True)
                del self._sizes[path]

    def _keep(self, content, name: str, size: int) -> str:
        ending = _ENDING.search(name)
        path = self.folder / secrets.token_urlsafe(16) / f"picture{ending[0] if ending else ''}"
        path.parent.mkdir()
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(content, file)
        except OSError:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        with self._lock:
            self._sizes[path] = size
        return str(path)


def _is_used(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _KEPT
    except OSError:
        return False


def _told(status: int, line: str) -> Response:
    return Response(line, status, media_type="text/plain")
