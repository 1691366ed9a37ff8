"""Makes the virtual environment that `make` runs in; does nothing, in a fraction of a second, where it is up to date.

Standard library only: this runs before anything is installed. pip brings uv into the environment, uv all the rest.
What is installed is said elsewhere: the requirements and the pinned detectron2 in `openvocab/preflight.py`, the extras
in `setup.py`, the versions in `constraints.txt`.
"""

from __future__ import annotations  # a Python too old for this file's annotations must still get as far as check_python

import argparse
import contextlib
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

from installers import SetupError, clean_environment, explain, run_step, say, with_pip_settings

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED_PYTHONS = ((3, 11), (3, 12), (3, 13))
MIN_FREE_BYTES = 7_000_000_000  # torch with its CUDA libraries and the rest, unpacked: 6.2 GB
STATE_FILE = ".openvocab-setup.json"  # in the environment; says "running" until everything is installed
FINGERPRINT_FILES = ("constraints.txt", "setup.py", "pyproject.toml", "openvocab/preflight.py")


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Raises SetupError where this Python cannot host the environment.

    Args:
        version: major and minor number.
    """
    if tuple(version) not in SUPPORTED_PYTHONS:
        names = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHONS)
        raise SetupError(
            f"one of Python {names} is needed, got {version[0]}.{version[1]} ({sys.executable}): "
            "install one and run make PYTHON=/path/to/python3.12"
        )


def check_disk(folder: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raises SetupError where the disk of a folder, which need not exist yet, has fewer than `needed` bytes left."""
    folder = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(f"disk space: {needed / 1e9:.0f} GB are needed in {folder}, got {free / 1e9:.1f} GB free")


def fingerprint(detectron2: str, root: Path = ROOT) -> str:
    """Hashes what the content of the environment depends on, but for the extras, which are noted by name.

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
    """Leaves an environment with this Python at `venv`.

    An environment of ours whose installation was cut short, or whose Python is another, is made anew. One that somebody
    else made is kept and installed into.

    Returns:
        Whether the environment is ours, that is, made by this script.

    Raises:
        SetupError: a foreign environment has another Python, or no environment can be made with this Python.
    """
    state = read_state(venv)
    if os.path.lexists(venv):
        same = _venv_version(venv) == sys.version_info[:2]
        if same and (state.get("state") == "done" or not state.get("ours")):
            return bool(state.get("ours"))
        if not state.get("ours"):
            raise SetupError(f"{venv} was not made by make and does not run this Python: remove it, or set VENV=")
        say(f"{venv.name} is " + ("unfinished" if same else "of another Python") + ": making it anew")
        shutil.rmtree(venv)
    else:
        say(f"making {venv.name} with Python {sys.version.split()[0]}")
    check_disk(venv)
    venv.mkdir(parents=True)
    write_state(venv, {**state, "state": "running", "ours": True})
    _create_venv(venv)
    return True


def _create_venv(venv: Path) -> None:
    command = [_base_python(), "-m", "venv", "--without-pip", str(venv)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SetupError(f"{command[0]} cannot make an environment: {explain(run.stdout + run.stderr)}")


def find_pip(venv: Path) -> list[str]:
    """Finds a pip that installs into an environment, and makes one where there is none.

    An environment that is to get uv needs no pip of its own: ensurepip takes longer than all else that pip does here.
    Debian splits ensurepip off, and a pip before 22.3 knows only its own Python.

    Returns:
        The beginning of a command line.

    Raises:
        SetupError: no way leads there.
    """
    own = [str(venv / "bin" / "python"), "-m", "pip"]
    outside = [_base_python(), "-m", "pip", "--python", own[0]]
    for pip, made_by in ((own, []), (outside, []), (own, [own[0], "-m", "ensurepip", "--upgrade"])):
        for command in filter(None, (made_by, [*pip, "--version"])):
            run = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return pip
    reason = explain(run.stdout + run.stderr)
    raise SetupError(f"{_base_python()} has neither ensurepip nor pip ({reason}): install python3-venv or its like")


def _base_python() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def _venv_version(venv: Path) -> tuple[int, ...] | None:
    """Major and minor number of an environment's Python; None where it does not run."""
    command = [str(venv / "bin" / "python"), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return tuple(int(part) for part in run.stdout.split()) if run.returncode == 0 else None


def install(venv: Path, extras: list[str], detectron2: str) -> None:
    """Installs everything into an environment.

    Args:
        venv: the environment.
        extras: names of `setup.py`.
        detectron2: see `install_detectron2`.

    Raises:
        SetupError: a step failed; says why in one line.
    """
    pip = find_pip(venv)
    environment, log = clean_environment(), venv / "setup.log"
    python = str(venv / "bin" / "python")
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    # Wheels only: a pip that is too old to know uv's wheel must not try to compile it.
    run_step("[1/4] uv", [*pip, "install", "--only-binary=:all:", *constraints, "uv"], environment, log)
    environment = with_pip_settings(environment, _output([*pip, "config", "list"], environment))
    if not any(venv.glob("lib/python*/site-packages/torch")):
        check_disk(Path(_output([str(venv / "bin" / "uv"), "cache", "dir"], environment).strip()))
    # Without isolation, packages that come as source are built with the pinned setuptools, not with the newest.
    packages = ["--no-build-isolation", "--editable", f"{ROOT}[{','.join(extras)}]"]
    step = f"[2/4] torch, torchvision, this package [{','.join(extras)}] and the rest"
    # pip itself for whoever activates the environment: else `pip` would be that of another Python.
    build_tools = [*uv_pip(venv, "install"), *constraints, "pip", "setuptools", "wheel"]
    run_step("[1/4] pip and build tools", build_tools, environment, log)
    run_step(step, [*uv_pip(venv, "install"), *constraints, *packages], environment, log)
    install_detectron2(venv, detectron2, environment)
    say("[4/4] checking the installation")
    # These imports also leave the bytecode of what every command needs.
    code = "from openvocab import preflight; preflight.check(); import torchvision, openvocab.inference.segmenter"
    run = subprocess.run([python, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SetupError("the installation does not work: " + (run.stderr.strip().splitlines() or ["no message"])[-1])


def uv_pip(venv: Path, action: str) -> list[str]:
    """The beginning of a command line of the environment's own uv."""
    return [str(venv / "bin" / "uv"), "pip", action, "--python", str(venv / "bin" / "python")]


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def install_detectron2(venv: Path, source: str, environment: dict[str, str]) -> None:
    """Installs detectron2 without its requirements, which this package declares itself.

    Args:
        venv: the environment, with uv.
        source: "wheel" (pinned, its hash checked), "git" (upstream; needs a C++ compiler), or anything uv installs.
        environment: variables for uv.

    Raises:
        SetupError: the download failed, or the wheel has another hash than the pinned one.
    """
    preflight = runpy.run_path(str(ROOT / "openvocab" / "preflight.py"))
    step, log = f"[3/4] detectron2 ({source})", venv / "setup.log"
    others = ["detectron2"] if source == "wheel" else ["detectron2", "sal-detectron2"]
    _output([*uv_pip(venv, "uninstall"), *others], environment)
    if source != "wheel":
        target = preflight["DETECTRON2_GIT"] if source == "git" else source
        run_step(step, [*uv_pip(venv, "install"), "--no-build-isolation", "--no-deps", target], environment, log)
        return
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site_packages = _output([str(venv / "bin" / "python"), "-c", query], environment).strip()
    # Its tag names Python 3.10, which is only taken together with a folder.
    flags = ["--no-deps", "--only-binary=:all:", "--python-version=3.10", "--target", site_packages, "--require-hashes"]
    pinned = f"{preflight['DETECTRON2_WHEEL']} --hash=sha256:{preflight['DETECTRON2_SHA256']}\n"
    run_step(step, [*uv_pip(venv, "install"), *flags, "--requirements", "-"], environment, log, stdin=pinned)


@contextlib.contextmanager
def only_one():
    """Lets a second `make` wait for the first instead of installing into the same folder."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two at once are the user's risk
        yield
        return
    with open(__file__, "rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make is setting up: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def set_up(venv: Path, extras: list[str], detectron2: str | None) -> None:
    """Brings the environment up to date; returns at once where it is.

    Args:
        venv: folder of the environment.
        extras: names of `setup.py` that are needed now; those of earlier calls are kept.
        detectron2: see `install_detectron2`; None keeps what the environment was made with, at first the wheel.

    Raises:
        SetupError: with the one line to print.
    """
    state = read_state(venv)
    detectron2 = detectron2 or state.get("detectron2") or "wheel"
    present = state.get("extras", [])
    key = fingerprint(detectron2)
    done = state.get("state") == "done" and state.get("key") == key and set(extras) <= set(present)
    if done and (venv / "bin" / "python").exists():
        return
    start = time.monotonic()
    note = {"ours": prepare_venv(venv), "detectron2": detectron2, "extras": sorted({*present, *extras})}
    write_state(venv, {"state": "running", **note})
    install(venv, note["extras"], detectron2)
    write_state(venv, {"state": "done", "key": key, **note})
    say(f"{venv.name} is ready after {time.monotonic() - start:.0f} s")


def main() -> int:
    """Runs the set-up from the command line and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment")
    parser.add_argument("--extras", nargs="*", default=["demo"], help="names of setup.py")
    parser.add_argument("--detectron2", default=None, help="wheel (default), git, or a requirement or path for uv")
    arguments = parser.parse_args()
    try:
        check_python()
        with only_one():
            set_up(arguments.venv.absolute(), arguments.extras, arguments.detectron2 or None)
    except (SetupError, OSError) as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next run starts over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
