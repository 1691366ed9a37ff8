"""What becomes of a portion, without Ray: rows, errors, full disks, and pictures over which workers die."""

import errno
import logging
import os
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab.checkpoint import zoo
from openvocab.checkpoint.notes import sha256_of
from openvocab.cluster.deaths import Deaths
from openvocab.cluster.question import Question
from openvocab.inference.result import Result
from openvocab.vocab.vocabulary import Vocabulary

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

from openvocab.cluster import worker  # noqa: E402
from openvocab.cluster.rows import name_of, row_of  # noqa: E402

SMALL = "emojiscapes_catseg"
FILE = zoo.weights_file(zoo.find(SMALL))
QUESTION = Question(SMALL, None, sha256_of(FILE), "float32", Vocabulary.parse("dog, tree, sky"))


class Answering:
    """Stands in for a segmenter: bright pixels are sky, without a model's half a second for each."""

    name, weights, dtype, notice = SMALL, str(FILE), "float32", ""

    def __call__(self, pixels, words, background=(), threshold=None, absent=None):
        labels = np.where(pixels.mean(axis=2) > 128, 2, 0).astype(np.int32)
        return Result(pixels, labels, np.full(labels.shape, 0.5, np.float32), list(words.names), words.entries)


@pytest.fixture
def paths(tmp_path, repository):
    drawn = Image.open(repository / "demo" / "images" / "garden.png").convert("RGB")
    given = []
    for number in range(3):
        given.append(str(tmp_path / f"{number}.png"))
        drawn.crop((8 * number, 0, 8 * number + 48, 40)).save(given[-1])
    return given


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Makes workers, and gives the folder that they write to."""
    monkeypatch.setattr(worker, "open_model", lambda question, device: Answering())
    folder = tmp_path / "rows"
    folder.mkdir()
    return lambda: worker.Worker(QUESTION, str(folder), "cpu"), folder


def rows(folder, report):
    return parquet.read_table(folder / report.file).to_pylist()


def test_rows_are_those_of_the_segmenter(tmp_path, paths):
    made = worker.Worker(QUESTION, str(tmp_path), "cpu")
    report = made.answer(paths[:1])
    segmenter = made._segmenter
    assert rows(tmp_path, report) == [row_of(paths[0], segmenter(paths[0], ["dog", "tree", "sky"]))]
    assert segmenter.name == SMALL


def test_a_trial_says_what_a_worker_would_say_to_nobody(monkeypatch):
    import dataclasses

    def load(question, device):
        logging.getLogger("openvocab.devices").warning("%s is emulated", "bfloat16")
        return mock.Mock(unknown_words=lambda words: ["qwertz"], weights="x.pth", dtype="float32", synonyms="mean",
                         device="cpu")  # fmt: skip

    monkeypatch.setattr(worker, "open_model", load)
    found = worker.trial(dataclasses.replace(QUESTION, dtype="bfloat16"), "cpu")
    assert "error" not in found and found["dtype"] == "float32"
    assert found["warnings"][0] == "bfloat16 is emulated"
    assert "has never seen 1 word: qwertz" in found["warnings"][1]


def test_a_portion_becomes_a_file(workers, paths):
    make, folder = workers
    table = make()(pa.table({worker.PATHS: [paths, paths[:1]]}))
    reports = [worker.Report(**row) for row in table.to_pylist()]
    assert [report.file for report in reports] == [name_of(paths), name_of(paths[:1])]
    assert [(report.answered, report.failed, report.stop) for report in reports] == [(3, [], ""), (1, [], "")]
    assert [row["path"] for row in rows(folder, reports[0])] == paths
    assert sorted(path.name for path in folder.iterdir()) == sorted(report.file for report in reports)


def test_a_broken_picture_is_a_row_and_a_missing_one_is_tried_again(workers, paths):
    make, folder = workers
    with open(paths[0], "wb") as file:
        file.write(b"not a picture")
    os.unlink(paths[1])
    report = make().answer(paths)
    assert report.answered == 1 and len(report.failed) == 2
    found = rows(folder, report)
    assert [row["path"] for row in found] == [paths[0], paths[2]]
    assert found[0]["error"] == report.failed[0] and paths[0] in found[0]["error"] and found[0]["words"] is None
    assert found[1]["error"] is None
    assert "No such file" in report.failed[1] and paths[1] in report.failed[1]
    report = make().answer([paths[1]])
    assert (report.file, report.answered, len(report.failed)) == ("", 0, 1)
    assert [path.name for path in folder.iterdir()] == [name_of(paths)], "no file without a row"


@pytest.mark.parametrize("error, a_row", [
    (ValueError("words: too many"), True),
    (MemoryError(), False),
    (RuntimeError("CUDA error: an illegal memory access"), False),
    (OSError(errno.EIO, "Input/output error"), False),
])  # fmt: skip
def test_what_another_try_may_mend_is_no_row(workers, paths, monkeypatch, error, a_row):
    make, folder = workers
    monkeypatch.setattr(Answering, "__call__", lambda *_, **__: (_ for _ in ()).throw(error))
    report = make().answer(paths[:1])
    assert report.answered == 0 and report.stop == "" and len(report.failed) == 1 and paths[0] in report.failed[0]
    assert bool(report.file) == a_row


def test_memory_that_ran_out_below_is_no_row(workers, paths, monkeypatch):
    def ask(*_):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            raise ValueError("words: do not fit") from error

    monkeypatch.setattr(Answering, "__call__", ask)
    assert workers[0]().answer(paths[:1]).file == ""


def test_a_full_disk_stops_the_run_and_leaves_nothing(workers, paths, no_space_for):
    make, folder = workers
    no_space_for("part-")
    report = make().answer(paths)
    assert "No space left on device" in report.stop and name_of(paths) in report.stop and "\n" not in report.stop
    assert (report.file, report.answered, report.failed) == ("", 0, [])
    assert not list(folder.iterdir())


def test_a_folder_that_this_machine_does_not_see_stops_the_run(workers, paths):
    make, folder = workers
    folder.rmdir()
    assert "No such file or directory" in make().answer(paths).stop


def test_a_picture_over_which_workers_die_is_left_out_in_the_end(workers, paths, monkeypatch):
    make, folder = workers
    ask = Answering.__call__

    class Died(BaseException):
        """As a SIGKILL: nothing catches it, nothing is tidied up."""

    def die(self, pixels, *rest, **options):
        if np.array_equal(pixels, np.asarray(Image.open(paths[1]))):
            raise Died
        return ask(self, pixels, *rest)

    monkeypatch.setattr(Answering, "__call__", die)
    monkeypatch.setattr(Deaths, "__exit__", lambda self, kind, *_: self._file.close() if kind else end(self, kind, *_))
    for _ in range(Deaths.LIMIT):
        with pytest.raises(Died):
            make().answer(paths)
        assert [path.name for path in folder.iterdir()] == [f".{name_of(paths)}.begun"]
    report = make().answer(paths)
    assert report.answered == 2 and report.failed == [f"{paths[1]}: 3 workers died over it"]
    assert [row["path"] for row in rows(folder, report)] == [paths[0], paths[2]]
    assert [path.name for path in folder.iterdir()] == [name_of(paths)]


end = Deaths.__exit__


def test_two_such_pictures_are_both_found(tmp_path):
    path, done = tmp_path / ".begun", []

    def work():
        deaths = Deaths(path)
        deaths.__enter__()
        for number in range(5):
            if number not in deaths.given_up:
                deaths.begin(number)
                if number in (1, 3):
                    deaths._file.close()
                    return False
        done.append(deaths.given_up)
        deaths.__exit__(None, None, None)
        return True

    assert [work() for _ in range(7)] == [False] * 6 + [True]
    assert done == [{1, 3}] and not path.exists()


def test_other_weights_on_another_machine_are_refused():
    import dataclasses

    found = worker.trial(dataclasses.replace(QUESTION, sha256="00"), "cpu")
    assert list(found) == ["error"] and "weights: " in found["error"] and QUESTION.sha256 in found["error"]
    found = worker.trial(dataclasses.replace(QUESTION, weights="/nowhere/x.pth"), "cpu")
    assert "has nothing at /nowhere/x.pth" in found["error"]
