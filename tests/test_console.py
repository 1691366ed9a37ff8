"""Lines that any terminal takes."""

import io
import os
import subprocess
import sys

import pytest

from openvocab import console

PRINTS = "from openvocab import console\nconsole.escape_what_cannot_be_shown()\n"


@pytest.mark.parametrize(
    "text,expected",
    [
        ("plain name.png", "plain name.png"),
        ("Café 猫 🐈", "Café 猫 🐈"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"Caf\xe9"), r"Caf\udce9"),
        ("line\u2028end", r"line\u2028end"),
    ],
)
def test_shown(text, expected):
    assert console.shown(text) == expected


@pytest.mark.parametrize(
    "error,expected",
    [
        (OSError(28, "No space left", "a.png"), "No space left: a.png"),
        (OSError(32, "Broken pipe"), "Broken pipe"),
        (OSError("just words"), "just words"),
        (ValueError("two\n  lines"), "two lines"),
        (MemoryError(), "MemoryError"),
        (OSError(2, "No such file", b"Caf\xe9"), r"No such file: Caf\udce9"),
    ],
)
def test_message_of(error, expected):
    assert console.message_of(error) == expected


@pytest.mark.parametrize(
    "names,expected",
    [
        (["a"], "1 output of this program: a"),
        (["a", "b"], "2 outputs of this program: a, b"),
        (list("abcd"), "4 outputs of this program: a, b and 2 more"),
    ],
)
def test_counted(names, expected):
    assert console.counted(names, "outputs of this program") == expected


def run(code: str, repository, encoding: str = "utf-8", **streams) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(repository)}
    environment.pop("PYTHONUNBUFFERED", None)  # what stays in a buffer is what Python complains of at its end
    return subprocess.run([sys.executable, "-c", PRINTS + code], env=environment, **streams)


@pytest.mark.parametrize(
    "encoding,expected",
    [("ascii", rb"\u732b \udce9"), ("utf-8", "猫 ".encode() + rb"\udce9"), ("latin-1", rb"\u732b \udce9")],
)
def test_what_a_terminal_lacks_is_escaped(repository, encoding, expected):
    code = "import sys\nfor out in (sys.stdout, sys.stderr): print('\\u732b \\udce9', file=out)"
    done = run(code, repository, encoding, capture_output=True)
    assert done.returncode == 0 and done.stdout.split(b"\n")[0] == done.stderr.split(b"\n")[0] == expected


def test_nobody_reads(repository):
    """One exception for the caller, and neither complaints nor another exit code when Python ends."""
    code = (
        "import sys\ntry:\n    console.say('x')\nexcept console.OutputClosedError as error:\n"
        "    console.report(str(error)); sys.exit(3)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = run(code, repository, stdout=writing, stderr=subprocess.PIPE)
    assert done.returncode == 3 and done.stderr == b"error: standard output: Broken pipe\n"
    assert run(code, repository, stdout=writing, stderr=writing).returncode == 3
    os.close(writing)


def test_streams_that_are_no_files(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console.escape_what_cannot_be_shown()
    console.say("猫")
    assert sys.stdout.getvalue() == "猫\n"
