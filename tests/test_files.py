import os
import subprocess
import sys

import pytest

from openvocab.files import replace_together, write_atomically


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["a.json"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode, "as readable as any other file"


def test_if_one_of_several_cannot_be_written_all_stay_as_they_were(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device: .*second"):
        replace_together({first: lambda file: file.write(b"new"), second: fail})
    assert first.read_bytes() == b"old" and os.listdir(tmp_path) == ["first"]


def test_what_must_not_be_replaced_stops_it_before_anything_is_written(tmp_path):
    def refuse(paths):
        raise ValueError(f"not {list(paths)[0].name}")

    with pytest.raises(ValueError, match="not a"):
        replace_together({tmp_path / "a": lambda file: pytest.fail("was written to")}, refuse)
    assert os.listdir(tmp_path) == []


def test_a_leftover_of_a_killed_process_is_neither_in_the_way_nor_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda length: "0123abcd")
    (tmp_path / "a.0123abcd.partial").write_bytes(b"half")
    with pytest.raises(FileExistsError, match="/a'"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a.0123abcd.partial").read_bytes() == b"half"
    monkeypatch.undo()
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_another_process_that_writes_the_same_file_does_not_disturb(tmp_path):
    path = tmp_path / "a"
    code = f"from openvocab.files import write_atomically; write_atomically({path!r}, b'theirs')".replace("Posix", "")
    code = f"from pathlib import Path; {code}"

    def write(file):
        file.write(b"ou")
        subprocess.run([sys.executable, "-c", code], check=True)
        assert path.read_bytes() == b"theirs"
        file.write(b"rs")

    replace_together({path: write})
    assert path.read_bytes() == b"ours" and os.listdir(tmp_path) == ["a"]
