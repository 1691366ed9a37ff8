"""What went wrong between us and the Hub, as one line that says what to do."""

import errno

_NETWORK = "check the network, or set HF_ENDPOINT to a mirror that you can reach"
# By names of classes: major versions of the Hub's library use different packages for the network. The first that fits.
_NETWORK_ERRORS = (
    ("ProxyError", "the proxy does not let it through", "check HTTPS_PROXY and NO_PROXY"),
    ("TimeoutException", "it stopped answering", _NETWORK),
    ("ConnectError", "no connection", _NETWORK),
    ("HTTPError", "the connection was cut", "run the same command again"),
)
_TOKEN = "set HF_TOKEN to a token of an account that may read it (hf auth login)"
_STATUS = {
    401: ("it is gated, private or gone", _TOKEN),
    403: ("the account may not read it", _TOKEN),
    404: ("there is no such file", "look whether its authors have moved it"),
    429: ("too many requests", "wait, or set HF_TOKEN to a token of yours"),
}


class DownloadError(RuntimeError):
    """A file could not be had; one line that says which, from where, why, and what to do."""


def explained(error: Exception, limit: float) -> str:
    """Puts an error of the Hub's library into words.

    Args:
        error: what it raised.
        limit: seconds that the first request had.

    Returns:
        What was found, and what to do; one line.
    """
    if isinstance(error.__cause__, Exception) and type(error).__name__ == "LocalEntryNotFoundError":
        error = error.__cause__  # the library wraps what has happened in "not found in the cache"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit:g} s; {_NETWORK}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return _of_status(status, error.response.headers)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "FileMetadataError" in kinds:
        return (
            f"what answers is no hub ({_line(error)}); it may be the login page of a network or a proxy, "
            "or HF_ENDPOINT may name something else"
        )
    for kind, found, to_do in _NETWORK_ERRORS:
        if kind in kinds:
            return f"{found} ({_line(error)}); {to_do}"
    if isinstance(error, OSError) and (error.errno is not None or "Consistency check" in str(error)):
        return _of_disk(error)
    return f"{_line(error)}; run the same command again, or with HF_HUB_DISABLE_XET=1"


def _of_status(status: int, headers: "dict[str, str]") -> str:
    found, to_do = _STATUS.get(status, ("the server fails", "try again later"))
    wait = headers.get("Retry-After")
    return f"HTTP {status}, {found}; {to_do}" + (f" (it asks to wait {wait} s)" if wait else "")


def _of_disk(error: OSError) -> str:
    place = f" {error.filename}" if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{place}; free some space, or set HF_HOME or HF_HUB_CACHE to a folder on another disk"
    if error.errno is None:  # what the library calls a consistency check
        return f"another file came than was announced ({_line(error)}); run the same command again"
    return f"cannot write{place} ({error.strerror}); set HF_HOME or HF_HUB_CACHE to a folder that can be written to"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
