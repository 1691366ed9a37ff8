"""The record of a run: what is done stays done, whatever tears it, and nothing else counts as done."""

import os

import pytest

from openvocab.inference import marks
from openvocab.inference.record import RECORD, Record

QUESTION = {"words": [["cat"]], "formats": ["png"]}


@pytest.fixture
def place(tmp_path):
    """A folder with two pictures and an output of each."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(b"picture")
        (tmp_path / f"{name}.json").write_bytes(b"output")
    return tmp_path


def opened(place, question=None):
    return Record(place, question or QUESTION)


def has(place, name, **changes):
    record = opened(place, **changes)
    found = record.has(place / f"{name}.jpg", name, [place / f"{name}.json"])
    record.close()
    return found


def note(place, *names):
    record = opened(place)
    for name in names:
        record.add(place / f"{name}.jpg", name, [place / f"{name}.json"])
    record.close()


def test_what_was_noted_is_done(place):
    note(place, "a")
    assert has(place, "a") and not has(place, "b")
    note(place, "b")
    assert has(place, "a") and has(place, "b") and marks.kind_of(place / RECORD) == marks.RUN


@pytest.mark.parametrize("name", ["a.jpg", "a.json"])
@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_picture_or_an_output_that_has_changed_is_not_done(place, name, change):
    note(place, "a", "b")
    path = place / name
    if change == "content":
        path.write_bytes(b"longer than before")
    elif change == "time":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        path.unlink()
    assert not has(place, "a") and has(place, "b")


def test_another_name_of_the_outputs_is_not_done(place):
    note(place, "a")
    record = opened(place)
    assert not record.has(place / "a.jpg", "a-2", [place / "a.json"])
    record.close()


def test_another_question_begins_anew_and_says_what_is_other(place):
    note(place, "a")
    record = opened(place, QUESTION | {"words": [["dog"]]})
    assert record.changed == ["words"] and not record.has(place / "a.jpg", "a", [place / "a.json"])
    record.close()
    assert not has(place, "a"), "the first question was not asked last"


def test_any_torn_end_loses_the_torn_line_only(place):
    note(place, "a", "b")
    whole = (place / RECORD).read_bytes()
    first, second = (len(b"".join(whole.splitlines(keepends=True)[:count])) for count in (1, 2))
    for length in range(first, len(whole)):
        (place / RECORD).write_bytes(whole[:length])
        assert has(place, "a") == (length >= second) and not has(place, "b")
        note(place, "b")
        assert has(place, "b") and has(place, "a") == (length >= second)
    for rest in (b"\0" * 30, b'["x", \xff\n', b"[]"):
        (place / RECORD).write_bytes(whole[:second] + rest)
        note(place, "b")
        assert has(place, "a") and has(place, "b")


def test_somebody_elses_file_stays(place):
    (place / RECORD).write_text('{"question": {}}\n')
    with pytest.raises(ValueError, match=f"expected nothing or an earlier run .*{RECORD}"):
        opened(place)
    assert (place / RECORD).read_text() == '{"question": {}}\n'


def test_names_that_are_no_utf8(place):
    name = os.fsdecode(b"Caf\xe9")
    for ending in (".jpg", ".json"):
        os.rename(place / f"a{ending}", place / f"{name}{ending}")
    note(place, name)
    assert has(place, name)
