"""Whose folder it is: a lock that the kernel holds, so that it goes with its process however that dies."""

import errno
import fcntl
import logging
import os
import re
import socket
from datetime import datetime
from pathlib import Path

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class Claim:
    """A locked file. The kernel drops the lock with the last process that has it open, so forks close it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._owner = path, descriptor, os.getpid()
        os.register_at_fork(after_in_child=self.close)  # workers of a loader may outlive a killed job for seconds

    def close(self) -> None:
        """Ends the claim; in a fork only its share."""
        if self._descriptor < 0:
            return
        if os.getpid() == self._owner and _is_still(self._path, self._descriptor):
            self._path.unlink(missing_ok=True)  # before the lock ends: then nobody else's file has this name
        os.close(self._descriptor)
        self._descriptor = -1


def lock(path: Path, option: str) -> Claim:
    """Locks a file.

    Args:
        path: made if need be; its folder exists. Removed when the claim is closed.
        option: that names the folder, such as "OUTPUT_DIR"; begins the message.

    Returns:
        The claim; it ends with the process where nobody closes it.

    Raises:
        ValueError: another process holds it, or the file cannot be locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = os.read(descriptor, 1000).decode(errors="replace")
            if error.errno not in _NO_LOCKS or _may_run(text):
                os.close(descriptor)
                raise ValueError(_in_use(path, option, text, error)) from error
            logger.warning("%s has no locks: only the process number in %s keeps a second job away", path.parent, path)
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its owner has ended, and taken the name with it, since it was opened
    os.ftruncate(descriptor, 0)
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
    return Claim(path, descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _in_use(path: Path, option: str, text: str, error: OSError) -> str:
    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, *_NO_LOCKS):
        return f"{path}: cannot be locked: {error.strerror}"
    who = text.strip() or "a job that has just started"
    hint = f", or remove {path} if that job has ended" if error.errno in _NO_LOCKS else ""
    return f"{option}: {path.parent} is in use by {who}; wait for its end or choose another {option}{hint}"


def _may_run(text: str) -> bool:
    """Whether the job of a lock file may still run, where only its text says so."""
    found = re.match(r"process (\d+) on (\S+) since", text)
    if found is None:
        return bool(text.strip())
    if found[2] != socket.gethostname():
        return True
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
