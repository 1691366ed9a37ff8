"""Makes the virtual environment that `make` runs in; does nothing, in a fraction of a second, where it is up to date.

Standard library only: this runs before anything is installed. What is installed is said elsewhere: the requirements and
the pinned detectron2 in `openvocab/preflight.py`, the versions in `constraints.txt`.
"""

from __future__ import annotations  # a Python too old for this file's annotations must still get as far as check_python

import argparse
import contextlib
import hashlib
import json
import os
import queue
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED_PYTHONS = ((3, 11), (3, 12))
MIN_FREE_BYTES = 8_000_000_000  # torch with its CUDA libraries: 5.4 GB installed, and wheels on their way
STATE_FILE = ".openvocab-setup.json"  # in the environment; says "running" until everything is installed
FINGERPRINT_FILES = ("constraints.txt", "setup.py", "pyproject.toml", "openvocab/preflight.py")
HEARTBEAT_SECONDS = 30.0
NO_NETWORK = (
    "Failed to establish a new connection|Name or service not known|Temporary failure in name resolution|Max retries"
    "|ConnectTimeoutError|Connection timed out|Network is unreachable|ProxyError|Read timed out|Connection aborted"
)


class SetupError(Exception):
    """Something the user has to mend; its text is the one line that is printed."""


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Raises SetupError where this Python cannot host the environment.

    Args:
        version: major and minor number.
    """
    if tuple(version) not in SUPPORTED_PYTHONS:
        names = " or ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHONS)
        raise SetupError(
            f"Python {names} is needed, got {version[0]}.{version[1]} ({sys.executable}): "
            "install one and run make PYTHON=/path/to/python3.12"
        )


def check_disk(folder: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raises SetupError where the disk of an existing folder has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(f"disk space: {needed / 1e9:.0f} GB are needed in {folder}, got {free / 1e9:.1f} GB free")


def fingerprint(detectron2: str, root: Path = ROOT) -> str:
    """Hashes what the content of the environment depends on.

    Args:
        detectron2: where detectron2 comes from, see `main`.
        root: the checkout, which is part of the key because it is installed in editable mode.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in (str(root), detectron2, "{}.{}".format(*sys.version_info[:2])):
        digest.update(part.encode() + b"\0")
    for name in FINGERPRINT_FILES:
        digest.update((root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def read_state(venv: Path) -> dict:
    """Returns what the last run left in the environment; {} where there was none or its note is unreadable."""
    try:
        state = json.loads((venv / STATE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(venv: Path, state: dict) -> None:
    """Writes the note of this run into the environment, atomically."""
    beside = venv / (STATE_FILE + ".part")
    beside.write_text(json.dumps(state, indent=1))
    beside.replace(venv / STATE_FILE)


def prepare_venv(venv: Path) -> bool:
    """Leaves an environment with a working pip at `venv`.

    An environment of ours whose installation was cut short, or whose Python is another, is made anew. One that somebody
    else made is kept and installed into.

    Returns:
        Whether the environment is ours, that is, made by this script.

    Raises:
        SetupError: a foreign environment has another Python, or no environment can be made with this Python.
    """
    state = read_state(venv)
    if venv.exists():
        same = _venv_version(venv) == sys.version_info[:2]
        if same and state.get("state") == "done":
            return bool(state.get("ours"))
        if not state.get("ours"):
            if not same:
                raise SetupError(f"{venv} was not made by make and does not run this Python: remove it, or set VENV=")
            return False
        say(f"{venv.name} is " + ("unfinished" if same else "of another Python") + ": making it anew")
        shutil.rmtree(venv)
    else:
        say(f"making {venv.name} with Python {sys.version.split()[0]}")
    check_disk(next(folder for folder in venv.parents if folder.exists()))
    venv.mkdir(parents=True)
    write_state(venv, {"state": "running", "ours": True})
    _create_venv(venv)
    return True


def _create_venv(venv: Path) -> None:
    """Runs venv; Debian splits ensurepip off, so a pip outside the environment may have to put one into it."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    if subprocess.run([base, "-m", "venv", str(venv)], capture_output=True, check=False).returncode == 0:
        return
    bare = subprocess.run([base, "-m", "venv", "--without-pip", str(venv)], capture_output=True, text=True, check=False)
    command = [base, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", "--quiet", "pip"]
    if bare.returncode or subprocess.run(command, env=pip_environment(), check=False).returncode:
        last = (bare.stderr.strip().splitlines() or ["neither ensurepip nor pip works"])[-1]
        raise SetupError(f"{base} cannot make an environment ({last}): install its venv package, e.g. python3-venv")


def _venv_version(venv: Path) -> tuple[int, ...] | None:
    """Major and minor number of an environment's Python; None where it does not run or has no pip."""
    code = "import sys, pip; print(*sys.version_info[:2])"
    try:
        run = subprocess.run([str(venv / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return tuple(int(part) for part in run.stdout.split()) if run.returncode == 0 else None


def pip_environment() -> dict[str, str]:
    """The environment variables for pip: the user's, without those that would send files elsewhere."""
    dropped = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PYTHONHOME", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"}


def pip(venv: Path, step: str, *arguments: str) -> None:
    """Runs pip in the environment, shows the large downloads and a sign of life, and logs everything.

    Args:
        venv: the environment; pip's full output is appended to `setup.log` in it.
        step: what is being done, for messages.
        arguments: of pip.

    Raises:
        SetupError: pip failed; says why in one line.
    """
    say(step)
    command = [str(venv / "bin" / "python"), "-m", "pip", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=pip_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    log_path = venv / "setup.log"
    output = []
    try:
        with log_path.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            for line in _with_heartbeat(lines):
                log.write(line)
                output.append(line)
                _show(line)
        code = process.wait()
    finally:
        if process.poll() is None:  # Ctrl-C: no pip may go on writing behind our back
            process.terminate()
            process.wait()
    if code:
        raise SetupError(f"{step}: {explain(''.join(output))} (all of pip's output: {log_path})")


def explain(output: str) -> str:
    """Returns the reason of a failed pip run in one line, from its output."""
    if re.search(NO_NETWORK, output):
        return "no network: pip cannot reach its package index"
    if "No space left on device" in output:
        return "the disk is full"
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR:")]
    return errors[-1] if errors else "pip failed"


def _read_lines(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _with_heartbeat(lines: queue.Queue):
    """Yields the lines until None arrives, and says every half minute that there is still something going on."""
    start = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=HEARTBEAT_SECONDS)
        except queue.Empty:
            say(f"  ... {time.monotonic() - start:.0f} s")
            continue
        if line is None:
            return
        yield line


def _show(line: str) -> None:
    """Prints what a waiting user wants to know of pip's output: large downloads and the final unpacking."""
    download = re.match(r"\s*Downloading (\S+?)(-cp\d+\S*|-py\d\S*)? \((\d+\.?\d*) ([MG])B\)", line)
    if download and (download[4] == "G" or float(download[3]) >= 20):
        say(f"  downloading {download[1].rsplit('/', 1)[-1]} ({download[3]} {download[4]}B)")
    elif line.startswith("Installing collected packages:"):
        count = line.count(",") + 1
        say(f"  unpacking {count} package" + ("s" if count > 1 else ""))


def install(venv: Path, detectron2: str) -> None:
    """Installs everything into an environment that has pip.

    Raises:
        SetupError: a step failed; says why in one line.
    """
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    pip(venv, "[1/4] build tools", "install", *constraints, "setuptools", "wheel")
    # Without isolation, packages that come as source are built with the pinned setuptools, not with the newest.
    packages = ("--no-build-isolation", "--editable", f"{ROOT}[demo,test]")
    pip(venv, "[2/4] torch, torchvision, this package and the rest (3 GB to load)", "install", *constraints, *packages)
    install_detectron2(venv, detectron2)
    say("[4/4] checking the installation")
    code = "from openvocab import preflight; preflight.check(); import detectron2, torchvision"
    command = [str(venv / "bin" / "python"), "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=pip_environment(), capture_output=True, text=True, check=False)
    if run.returncode:
        raise SetupError("the installation does not work: " + (run.stderr.strip().splitlines() or ["no message"])[-1])


def install_detectron2(venv: Path, source: str) -> None:
    """Installs detectron2 without its requirements, which this package declares itself.

    Args:
        venv: the environment.
        source: "wheel" (pinned, its hash checked), "git" (upstream; needs a C++ compiler), or anything pip installs.

    Raises:
        SetupError: the download failed, or the wheel has another hash than the pinned one.
    """
    preflight = runpy.run_path(str(ROOT / "openvocab" / "preflight.py"))
    step = f"[3/4] detectron2 ({source})"
    python = str(venv / "bin" / "python")
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site_packages = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    wheel_name = preflight["DETECTRON2_WHEEL"].replace("-", "_").replace("==", "-")
    if source == "wheel" and (Path(site_packages) / f"{wheel_name}.dist-info" / "RECORD").is_file():
        return
    if any(Path(site_packages).glob("*detectron2-*.dist-info")):
        pip(venv, f"{step}: removing the present one", "uninstall", "--yes", "detectron2", "sal-detectron2")
    if source != "wheel":
        target = preflight["DETECTRON2_GIT"] if source == "git" else source
        pip(venv, step, "install", "--no-build-isolation", "--no-deps", target)
        return
    flags = preflight["DETECTRON2_PIP_FLAGS"]
    with tempfile.TemporaryDirectory() as folder:
        pip(venv, step + ": loading", "download", *flags, "--dest", folder, preflight["DETECTRON2_WHEEL"])
        (wheel,) = Path(folder).iterdir()
        check_hash(wheel, preflight["DETECTRON2_SHA256"])
        pip(venv, step + ": installing", "install", *flags, "--target", site_packages, str(wheel))


def check_hash(file: Path, expected: str) -> None:
    """Raises SetupError where the SHA-256 of a file is not the expected one (64 hexadecimal digits)."""
    got = hashlib.sha256(file.read_bytes()).hexdigest()
    if got != expected:
        raise SetupError(f"{file.name}: SHA-256 expected {expected}, got {got}: not installed")


@contextlib.contextmanager
def only_one():
    """Lets a second `make` wait for the first instead of installing into the same folder."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two at once are the user's risk
        yield
        return
    with open(__file__, "rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Prints a line of progress at once, also into a pipe."""
    print(f"setup: {text}", flush=True)


def set_up(venv: Path, detectron2: str | None) -> None:
    """Brings the environment up to date; returns at once where it is.

    Args:
        venv: folder of the environment.
        detectron2: see `install_detectron2`; None keeps what the environment was made with, at first the wheel.

    Raises:
        SetupError: with the one line to print.
    """
    state = read_state(venv)
    detectron2 = detectron2 or state.get("detectron2") or "wheel"
    key = fingerprint(detectron2)
    if state.get("state") == "done" and state.get("key") == key and (venv / "bin" / "python").exists():
        return
    start = time.monotonic()
    ours = prepare_venv(venv)
    note = {"ours": ours, "detectron2": detectron2}
    write_state(venv, {"state": "running", **note})
    install(venv, detectron2)
    write_state(venv, {"state": "done", "key": key, **note})
    say(f"{venv.name} is ready after {time.monotonic() - start:.0f} s")


def main() -> int:
    """Runs the set-up from the command line and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment")
    parser.add_argument("--detectron2", default=None, help="wheel (default), git, or a requirement or path for pip")
    arguments = parser.parse_args()
    try:
        check_python()
        with only_one():
            set_up(arguments.venv.absolute(), arguments.detectron2 or None)
    except SetupError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next run starts over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
