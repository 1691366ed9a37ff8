"""One picture's trouble is its own; what would stop all pictures stops at once."""

import errno
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from openvocab.inference import outputs
from openvocab.inference import result as result_module
from openvocab.inference.batch import BatchStoppedError, Job, Tally, run_batch
from openvocab.inference.many import answers
from openvocab.inference.result import Result

SAVING = threading.local()  # whose files the thread writes


class Stub:
    """Answers with an empty picture, but raises what it was told to at the second one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.asked = error, []

    def __call__(self, picture: Path) -> Result:
        self.asked.append(picture.name)
        if len(self.asked) == 2 and self.error is not None:
            raise self.error
        return Result(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int32), np.ones((4, 6), np.float32), ["cat"])


def run(folder: Path, stub: Stub, show=lambda *_: None, tally=None) -> Tally:
    tally = tally or Tally(3)
    folder.mkdir(exist_ok=True)
    jobs = [Job(number, Path(f"in/{name}.png"), name) for number, name in enumerate("abc", 1)]

    def save(job, result):
        SAVING.stem = job.stem
        return result.save_all(folder, job.stem)

    found = answers((job.picture for job in jobs), lambda picture: picture, lambda batch: [*map(stub, batch)], 1, True)
    run_batch(jobs, found, save, show, tally)
    return tally


EXPECTED = [
    ValueError("image: damaged: in/b.png"),
    ValueError("words: 9 words need 5 GB"),
    OSError(errno.EIO, "I/O error"),
    PermissionError(errno.EACCES, "Permission denied", "in/b.png"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", EXPECTED, ids=repr)
def test_an_expected_error_is_one_line_that_names_the_picture(tmp_path, capsys, caplog, error):
    tally = run(tmp_path / "out", Stub(error))
    assert (tally.done, tally.failed, tally.exit_code) == (2, 1, 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.count("in/b.png") == 1 and not caplog.text


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("DXGI format 93"),
        RuntimeError("shapes differ"),
        KeyError("x"),
        RecursionError(),
        ZeroDivisionError("by zero"),
    ],
    ids=repr,
)
def test_another_error_shows_where_it_came_from_and_the_batch_goes_on(tmp_path, capsys, caplog, error):
    tally = run(tmp_path / "out", Stub(error))
    assert (tally.done, tally.failed, tally.exit_code) == (2, 1, 1)
    assert "Traceback" in caplog.text and "in __call__" in caplog.text
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "in/b.png" in line and type(error).__name__ in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("where", ["writing", "preparing"])
def test_a_folder_that_takes_nothing_more_ends_the_batch(tmp_path, monkeypatch, number, where):
    def fail(*arguments, **options):
        if SAVING.stem != "b":
            return real(*arguments, **options)
        raise OSError(number, "words of the system")

    module, name = (outputs, "encode") if where == "writing" else (result_module.tempfile, "TemporaryFile")
    real, tally = getattr(module, name), Tally(3)
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(BatchStoppedError, match="words of the system"):
        run(tmp_path / "out", Stub(), tally=tally)
    assert (tally.done, tally.failed) == (1, 0) and not list((tmp_path / "out").glob("b*"))


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENAMETOOLONG, errno.EIO])
def test_other_troubles_of_writing_are_the_pictures_own(tmp_path, monkeypatch, capsys, number):
    real = outputs.encode

    def fail(*arguments):
        if SAVING.stem == "b":
            raise OSError(number, "words of the system")
        real(*arguments)

    monkeypatch.setattr(outputs, "encode", fail)
    tally = run(tmp_path / "out", Stub())
    assert (tally.done, tally.failed) == (2, 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: in/b.png: words of the system: ") and line.endswith("b_overlay.png")


def test_a_foreign_file_that_appears_in_between_is_one_pictures_trouble(tmp_path, capsys):
    class Slow(Stub):
        def __call__(self, picture):
            if picture.name == "b.png":
                (tmp_path / "out" / "b.json").write_text("mine")
            return super().__call__(picture)

    tally = run(tmp_path / "out", Slow())
    assert (tally.done, tally.failed) == (2, 1) and (tmp_path / "out" / "b.json").read_text() == "mine"
    assert "b.json" in capsys.readouterr().err and not (tmp_path / "out" / "b_labels.png").exists()


def test_what_was_done_is_counted_when_it_is_interrupted(tmp_path):
    def show(written, seconds):
        if written.job.number == 2:
            raise KeyboardInterrupt

    tally = Tally(3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", Stub(), show, tally)
    assert (tally.done, tally.failed) == (2, 0)


@pytest.mark.parametrize("done,failed,code", [(3, 0, 0), (2, 1, 1), (1, 0, 1), (0, 3, 2), (0, 0, 2)])
def test_exit_codes(done, failed, code):
    assert Tally(3, done, failed).exit_code == code
