"""Python processes that have imported everything before they start: forks of a server, one for each test worker.

A fresh interpreter takes six seconds to import torch and Detectron2. Tests of what a command prints, or of how it comes
up, start one all the same; those of kills, resuming and several processes do not need it.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["openvocab.cli.train", "toy_method"])


class Forked:
    """A script that runs as `python script ...` would, in a session of its own; the interface of `subprocess.Popen`."""

    def __init__(self, script: Path, arguments: Sequence[str], environment: Mapping[str, str]):
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        task = str(script), list(arguments), dict(environment), self._files
        self._process = CONTEXT.Process(target=_run, args=task)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As of `Popen`: negative for a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, if there is one by now."""
        self._process.join(0)
        return self.returncode

    def communicate(self, timeout: float = 900) -> tuple[str, str]:
        """Waits for the end; standard output and error."""
        self._process.join(timeout)
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("a forked script", timeout)
        texts = tuple(file.read_text() if file.exists() else "" for file in self._files)
        return texts


def start_program(*arguments: str, **options: Any) -> subprocess.Popen:
    """Starts `openvocab` in a fresh interpreter, with pipes for what it prints; it heeds Ctrl-C.

    A shell's background jobs ignore that, and so do the processes that they start.

    Args:
        arguments: of the program.
        options: of `subprocess.Popen`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "openvocab", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def run_forked(script: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    """Runs a script to its end."""
    process = Forked(script, arguments, environment)
    output, error = process.communicate()
    return subprocess.CompletedProcess([str(script), *arguments], process.returncode, output, error)


def _run(script: str, arguments: list[str], environment: dict[str, str], files: list[Path]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        stream.flush()
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[:0] = [script, *arguments], [str(Path(script).parent)]
    runpy.run_path(script, run_name="__main__")
