"""What stands in the files, without Ray: rows, questions, what is answered already, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from pycocotools import mask as rle

from openvocab.cluster.question import Question
from openvocab.inference.result import Result
from openvocab.vocab.vocabulary import Vocabulary

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

from openvocab.cluster import finished, rows  # noqa: E402

QUESTION = Question("small", None, "ab" * 32, "float32", Vocabulary.parse("cat, sofa|couch"))


def result(**changes):
    labels = np.zeros((4, 6), np.int32)
    labels[1:, 2:] = 1
    labels[0, 0] = -1
    scores = np.full((4, 6), 0.5, np.float32)
    scores[1:, 2:] = 0.75
    fields = dict(image=np.zeros((4, 6, 3), np.uint8), labels=labels, scores=scores, names=["cat", "sofa", "wall"],
                  vocabulary=(("cat",), ("sofa", "couch"), ("wall",)), model="small", weights="/some/where/small.pth",
                  precision="bfloat16", notice="beware")  # fmt: skip
    return Result(**fields | changes)


class Segmenter:
    """What `error_row` reads of one."""

    name, weights, dtype, notice = "small", "/some/where/small.pth", "float32", ""


def test_a_row_holds_the_masks_of_the_words_that_occur():
    row = rows.row_of("/a/b.png", result())
    assert list(row) == rows.SCHEMA.names
    assert (row["path"], row["height"], row["width"], row["error"]) == ("/a/b.png", 4, 6, None)
    said = row["model"], row["weights"], row["precision"], row["notice"]
    assert said == ("small", "small.pth", "bfloat16", "beware")
    assert row["vocabulary"] == [["cat"], ["sofa", "couch"], ["wall"]]
    assert [(word["name"], word["label"], word["area"], word["score"]) for word in row["words"]] == [
        ("sofa", 1, 12, 0.75), ("cat", 0, 11, 0.5)]  # fmt: skip
    for word in row["words"]:
        mask = rle.decode({"size": word["size"], "counts": word["counts"]})
        assert np.array_equal(mask, result().labels == word["label"])


def test_a_file_gives_rows_and_question_back(tmp_path):
    given = [rows.row_of("a.png", result()), rows.error_row("b.png", "image: broken", Segmenter(), QUESTION)]
    content = rows.parquet_of(given, QUESTION)
    assert content == rows.parquet_of(given, QUESTION), "the same rows are the same bytes"
    (tmp_path / "x.parquet").write_bytes(content)
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.to_pylist() == given
    assert table.schema.equals(rows.SCHEMA)
    assert json.loads(table.schema.metadata[rows.KEY])["weights"] == "sha256 " + "ab" * 32
    assert given[1]["words"] is None and given[1]["vocabulary"] == [["cat"], ["sofa", "couch"]]


def test_a_name_is_of_its_paths():
    names = {rows.name_of(paths) for paths in (["a", "b"], ["b", "a"], ["a"], ["ab"])}
    assert len(names) == 4 and rows.name_of(["a", "b"]) in names


@pytest.mark.parametrize("changes, words", [
    ({"model": "large"}, ("--model", "'small'", "'large'")),
    ({"sha256": "cd" * 32}, ("--weights", "abab", "cdcd")),
    ({"dtype": "bfloat16"}, ("--dtype", "'float32'", "'bfloat16'")),
    ({"vocabulary": Vocabulary.parse("cat, dog")}, ("--vocabulary", "'cat, sofa|couch'", "'cat, dog'")),
    ({"vocabulary": Vocabulary.parse("sofa|couch, cat")}, ("--vocabulary", "'sofa|couch, cat'")),  # labels differ
    ({"background": Vocabulary.parse("wall")}, ("--background", "none", "'wall'")),
    ({"threshold": 0.0}, ("--threshold", "none", "'0.0'")),
    ({"synonyms": "first"}, ("--synonyms", "none", "'first'")),
    ({"overrides": ("INPUT.MIN_SIZE_TEST", "320")}, ("--opts", "none", "'INPUT.MIN_SIZE_TEST, 320'")),
])  # fmt: skip
def test_another_question_is_named_by_its_option(changes, words):
    text = dataclasses.replace(QUESTION, **changes).difference(QUESTION.text())
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_what_answers_do_not_depend_on_makes_no_other_question():
    assert QUESTION.difference(QUESTION.text()) == ""
    other = dataclasses.replace(QUESTION, download=False, weights="/elsewhere/small.pth")
    assert other.difference(QUESTION.text()) == ""


@pytest.fixture
def folder(tmp_path):
    given = [rows.row_of("a.png", result()), rows.error_row("b.png", "image: broken", Segmenter(), QUESTION)]
    (tmp_path / rows.name_of(["a.png", "b.png"])).write_bytes(rows.parquet_of(given, QUESTION))
    return tmp_path


def test_answered(folder):
    (folder / finished.LOCK).touch()
    assert finished.answered(folder, QUESTION) == {"a.png": True, "b.png": False}
    assert finished.answered(folder / "not yet", QUESTION) == {}


def test_what_a_kill_leaves_is_known_and_removed(folder):
    name = rows.name_of(["c.png"])
    left = [folder / f"{name}.0123abcd.partial", folder / f".{name}.begun"]
    for path in left:
        path.write_bytes(b"half")
    assert finished.answered(folder, QUESTION) == {"a.png": True, "b.png": False}
    finished.tidy(folder)
    assert not any(path.exists() for path in left)
    assert len(list(folder.iterdir())) == 1


def test_another_question_into_the_same_folder_is_refused(folder):
    with pytest.raises(ValueError, match=r"output: .* answers to another question, --threshold: .*none.*'0\.5'"):
        finished.answered(folder, dataclasses.replace(QUESTION, threshold=0.5))


def test_foreign_files_are_refused_and_left(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="got 1 other: notes.txt"):
        finished.answered(folder, QUESTION)
    (folder / "notes.txt").unlink()
    parquet.write_table(pa.table({"path": ["a"], "error": ["b"]}), folder / "theirs.parquet")
    with pytest.raises(ValueError, match="theirs.parquet is none of ours"):
        finished.answered(folder, QUESTION)


def test_half_a_file_is_named(folder):
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"part-.*cannot be read as Parquet .*move it away"):
        finished.answered(folder, QUESTION)


def test_a_picture_that_stands_twice_is_named(folder):
    again = [rows.row_of("a.png", result())]
    (folder / rows.name_of(["a.png"])).write_bytes(rows.parquet_of(again, QUESTION))
    with pytest.raises(ValueError, match="a.png stands twice"):
        finished.answered(folder, QUESTION)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        finished.answered(tmp_path / "file", QUESTION)


def test_a_folder_is_claimed_by_one_run(tmp_path):
    with finished.claimed(tmp_path / "new"):
        with pytest.raises(ValueError, match="is in use by process"), finished.claimed(tmp_path / "new"):
            pass
    with finished.claimed(tmp_path / "new"):
        pass


def test_portions_of_what_is_left_are_those_of_before():
    paths = [f"{number:03}" for number in range(100)]
    size = 8
    whole = finished.remaining(paths, {}, size)
    assert sum(whole, []) == paths and {len(part) for part in whole[:-1]} == {size}
    done = {path: True for part in (whole[2], whole[5], whole[-1]) for path in part}
    left = finished.remaining(paths[::-1], done, size)
    assert left == [part for part in whole if part[0] not in done]


def test_portions_grow_with_the_run():
    assert [finished.portion_size(count) for count in (1, 255, 1000, 10**6)] == [1, 1, 3, 32]
