"""Runs pip and uv for `bootstrap.py`: with which settings, what is shown meanwhile, why a run failed in one line."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import time
from pathlib import Path

HEARTBEAT_SECONDS = 10.0
# Variables by which pip or uv would install something else, or elsewhere, than what they are asked for. And the one
# that forbids bytecode: uv leaves that to the first import, and torch would be compiled anew in every process.
DROPPED_VARIABLES = re.compile(
    "PIP_(USER|TARGET|PREFIX|ROOT|CONSTRAINT|REQUIREMENT)|PYTHON(HOME|PATH|DONTWRITEBYTECODE)"
    "|UV_(PYTHON|SYSTEM_PYTHON|CONSTRAINT|OVERRIDE|EXCLUDE|BUILD_CONSTRAINT|RESOLUTION|PRERELEASE|REQUIRE_HASHES"
    "|NO_VERIFY_HASHES|NO_BUILD_ISOLATION|NO_EDITABLE|NO_BUILD|NO_BINARY|WORKING_DIR|PROJECT)"
)
# uv reads none of pip's settings. Those that say where files come from are handed on under uv's names.
INDEX_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
}  # fmt: skip
LINE_SETTINGS = {"trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY"}
NO_NETWORK = (
    "Failed to establish a new connection|Name or service not known|Temporary failure in name resolution|Max retries"
    "|ConnectTimeoutError|Connection timed out|Network is unreachable|ProxyError|Read timed out|Connection aborted"
    "|error sending request|operation timed out"
)
NO_SUCH_EXTRA = "does not have an extra named"


class SetupError(Exception):
    """Something the user has to mend; its text is the one line that is printed."""


def say(text: str) -> None:
    """Prints a line of progress at once, also into a pipe."""
    print(f"setup: {text}", flush=True)


def clean_environment() -> dict[str, str]:
    """The environment variables for pip and uv: the user's, without those that change what is installed or where."""
    kept = {name: value for name, value in os.environ.items() if not DROPPED_VARIABLES.fullmatch(name)}
    ours = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    return {**kept, **ours, "UV_PYTHON_DOWNLOADS": "never"}


def with_pip_settings(environment: dict[str, str], pip_config: str) -> dict[str, str]:
    """Adds what pip is told about indexes, certificates and proxies, under uv's names.

    Args:
        environment: whose own settings for uv win; one that names an index makes all of pip's be left out.
        pip_config: what `pip config list` prints.

    Returns:
        A copy with the settings added.
    """
    lines = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.+)$", pip_config, re.MULTILINE)
    # As in pip, [install] counts more than [global], and a variable more than both.
    lines.sort(key=lambda line: ("global", "install", ":env:").index(line[0]))
    settings = {name: str(ast.literal_eval(value)).split() for _, name, value in lines}
    names = dict(LINE_SETTINGS)
    if not any(re.fullmatch(r"UV_\w*INDEX(_URL)?|UV_FIND_LINKS", name) for name in environment):
        names.update(INDEX_SETTINGS)
    taken = [name for name in names if settings.get(name) and names[name] not in environment]
    added = {names[name]: ("," if name == "find-links" else " ").join(settings[name]) for name in taken}
    if "UV_INDEX" in added:
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's own: the best version of all indexes
    if taken:
        say(f"uv takes over from pip: {', '.join(taken)}")
    return {**environment, **added}


def run_step(step: str, command: list[str], environment: dict[str, str], log_path: Path, stdin: str = "") -> None:
    """Runs pip or uv, shows a sign of life, and logs everything.

    Args:
        step: what is being done, for messages.
        command: with all arguments.
        environment: variables.
        log_path: file that the command and its whole output are appended to.
        stdin: what the command reads.

    Raises:
        SetupError: the command failed; says why in one line.
    """
    say(step)
    start = time.monotonic()
    with log_path.open("a+", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        begin = log.tell()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            while process.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(stdin, timeout=HEARTBEAT_SECONDS)
                output = _read_from(log_path, begin)
                if process.returncode is None:
                    say(f"  ... {time.monotonic() - start:.0f} s{loaded(output)}")
        finally:
            if process.poll() is None:  # Ctrl-C: nothing may go on writing behind our back
                process.terminate()
                process.wait()
    if process.returncode or NO_SUCH_EXTRA in output:  # of which uv only warns
        raise SetupError(f"{step}: {explain(output)} (all of the output: {log_path})")


def _read_from(path: Path, begin: int) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        return file.read()


def loaded(output: str) -> str:
    """Says how much of the downloads that uv has announced so far has come, "" where it has announced none."""
    announced = re.findall(r"^ *Downloading (\S+) \((\d+\.?\d*)([KMG])iB\)", output, re.MULTILINE)
    sizes = {name: float(size) * {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0}[unit] for name, size, unit in announced}
    done = sum(sizes.get(name, 0.0) for name in re.findall(r"^ *Downloaded (\S+)", output, re.MULTILINE))
    return f", {done:.1f} of {sum(sizes.values()):.1f} GiB loaded" if sizes else ""


def explain(output: str) -> str:
    """Returns the reason of a failed run of pip or uv in one line, from its output."""
    if "No space left on device" in output:
        return "the disk is full"
    if re.search("invalid peer certificate|CERTIFICATE_VERIFY_FAILED", output):
        return "the certificate of the package index is not trusted: set SSL_CERT_FILE, or UV_SYSTEM_CERTS=1 for uv"
    if re.search(NO_NETWORK, output):
        address = re.search(r"Failed to (?:fetch|download):? `?(https?:[^\s`]+)", output)
        return f"no network: cannot reach {address[1] if address else 'the package index'}"
    by_uv = re.search(rf"^(?:error:|warning:(?=.*{NO_SUCH_EXTRA})).*?(?=^hint:|^\w*warning:|\Z)", output, re.M | re.S)
    if by_uv:
        reason = " ".join(re.sub(r"\s+cause:", ":", by_uv[0]).partition(":")[2].split())
        return reason if len(reason) < 600 else f"{reason[:300]} ... {reason[-300:]}"
    errors = [line.strip() for line in output.splitlines() if line.lower().startswith("error:")]
    return (errors or output.strip().splitlines() or ["it failed without a message"])[-1]
