"""Fetches the emoji drawings that EmojiScapes is trained on from npm into the cache folder (12 MB, needs `npm`).

    python tools/fetch_drawings.py

Versions are pinned, so that a seed draws the same pixels everywhere. OpenMoji comes from PyPI and needs no fetching.
"""

import json
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from openvocab.checkpoint.zoo import CACHE_VARIABLE
from openvocab.console import escape_what_cannot_be_shown, message_of, report
from openvocab.data.emojiscapes.drawings import NPM_PACKAGES, drawings_folder

logger = logging.getLogger("fetch_drawings")

FILES = ("icons.json", "chars.json", "info.json")


def fetch(style: str, folder: Path) -> None:
    """Puts one style's files into folder / style; the folder appears only when it is complete.

    Raises:
        ValueError: npm fails (its last line is quoted).
    """
    package, version = NPM_PACKAGES[style]
    target = folder / style
    if all((target / name).is_file() for name in FILES):
        logger.info("%s: already in %s", style, target)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = ["npm", "pack", "--silent", f"{package}@{version}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"npm pack {package}@{version} failed: {done.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(Path(scratch) / done.stdout.split()[-1]) as archive:
            archive.extractall(scratch, filter="data")
        ready = Path(scratch) / "ready"
        ready.mkdir()
        for name in FILES:
            shutil.move(Path(scratch) / "package" / name, ready / name)
        shutil.rmtree(target, ignore_errors=True)
        ready.rename(target)
    licence = json.loads((target / "info.json").read_text(encoding="utf-8"))["license"]["title"]
    logger.info("%s: %s %s (%s) -> %s", style, package, version, licence, target)


def main() -> int:
    """Command line; returns the exit code."""
    escape_what_cannot_be_shown()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if shutil.which("npm") is None:
        report("npm is not on the PATH; install Node.js (Debian: apt-get install npm)")
        return 2
    try:
        for style in NPM_PACKAGES:
            fetch(style, drawings_folder())
    except ValueError as error:
        report(error)
        return 2
    except OSError as error:
        report(
            f"cache: cannot write to {drawings_folder()} ({message_of(error)}); "
            f"set {CACHE_VARIABLE} to a folder that can be written to"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
