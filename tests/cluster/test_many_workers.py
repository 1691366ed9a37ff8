"""Ray for real: two workers, a worker killed, the whole run killed; the rows are those of a plain loop."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from processes import start_program

from openvocab import Segmenter, exit_codes

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray")
pytestmark = pytest.mark.slow

WORDS = ["dog", "house|home", "tree", "grass", "sky"]
COUNT = 48
LIMIT = 500  # seconds; a run takes 40 on a quiet machine


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, repository) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    drawn = [Image.open(path).convert("RGB") for path in sorted((repository / "demo" / "images").glob("*.png"))]
    for number in range(COUNT):
        picture = drawn[number % len(drawn)]
        left, top = number * 7 % (picture.width - 112), number * 5 % (picture.height - 96)
        place = folder / ("below" if number % 3 else "") / f"{number:02}.png"
        picture.crop((left, top, left + 112, top + 64 + number % 32)).save(place)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(scope="module")
def expected(pictures) -> list[dict]:
    from openvocab.cluster.rows import row_of

    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")
    paths = sorted(str(path) for path in pictures.rglob("*.png") if path.name != "broken.png")
    assert len(paths) == COUNT
    return [row_of(path, segmenter(path, WORDS)) for path in paths]


@pytest.fixture
def start(pictures, tmp_path):
    """Starts the command, in a session of its own so that a test can find and kill all that it starts."""
    begun = []

    def run(*options: str, output: Path = tmp_path / "rows") -> subprocess.Popen:
        arguments = ["segment", "--engine", "ray", "--input", str(pictures), "--vocabulary", ", ".join(WORDS),
                     "--model", "emojiscapes_catseg", "--device", "cpu", "--output", str(output), *options]  # fmt: skip
        begun.append(start_program(*arguments, start_new_session=True))
        return begun[-1]

    yield run
    for process in begun:
        for number in of_session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate()


def of_session(session: int) -> dict[int, str]:
    """Processes of a session and their names, without those that only wait to be buried."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = re.match(r"\d+ \((.*)\) (.*)", path.read_text(errors="replace"), re.DOTALL).groups()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, number = fields.split()[:4]
        if int(number) == session and state != "Z":
            found[int(path.parent.name)] = name
    return found


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def rows(folder: Path) -> list[dict]:
    from pyarrow import parquet

    return sorted(parquet.read_table(folder).to_pylist(), key=lambda row: row["path"])


def check(folder: Path, expected: list[dict]) -> None:
    """All rows, and nothing but files of rows; reading the folder as a whole is what others will do."""
    found = rows(folder)
    broken = [row for row in found if row["error"] is not None]
    assert [row for row in found if row["error"] is None] == expected
    assert [Path(row["path"]).name for row in broken] == ["broken.png"] and broken[0]["words"] is None
    assert "broken.png" in broken[0]["error"]
    assert {path.suffix for path in folder.iterdir()} == {".parquet"}


def test_two_workers_of_which_one_is_killed(start, tmp_path, expected):
    folder = tmp_path / "rows"
    run = start("--workers", "2")
    workers = set()

    def working():
        workers.update(pid for pid, name in of_session(run.pid).items() if "MapWorker" in name)
        return len(workers) == 2 and len(files(folder)) >= 4 or run.poll() is not None

    wait_for(working, LIMIT)
    assert run.poll() is None, run.communicate()
    before = len(files(folder))
    os.kill(max(workers), signal.SIGKILL)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == exit_codes.IN_PART, err
    assert before < COUNT + 1
    assert f"{COUNT} done, 1 failed" in out
    assert len(err.splitlines()) == 1 and "broken.png" in err, "one line for the broken picture, none of Ray's"
    assert not of_session(run.pid), "nothing of Ray's is left"
    check(folder, expected)


def test_a_run_that_is_killed_goes_on_and_another_question_is_refused(start, tmp_path, expected):
    folder = tmp_path / "rows"
    run = start("--workers", "1")
    wait_for(lambda: len(files(folder)) >= 5 or run.poll() is not None, LIMIT)
    assert run.poll() is None, run.communicate()
    run.kill()
    run.communicate()
    done = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert 5 <= len(done) < COUNT
    # Workers end with their driver; two agents of Ray's, which have nothing to do, take a minute to notice.
    wait_for(lambda: not [name for name in of_session(run.pid).values() if "MapWorker" in name], 60)
    run = start("--workers", "2")
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == exit_codes.IN_PART, err
    assert "there already" in out and f"{COUNT} done, 1 failed" in out
    check(folder, expected)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "what was there is not asked again"

    again = start()
    out, err = again.communicate(timeout=60)
    assert again.returncode == exit_codes.IN_PART and f"{COUNT} done, 1 failed" in out and "model" not in out
    other = start("--threshold", "0.5")
    out, err = other.communicate(timeout=60)
    assert other.returncode == exit_codes.NOTHING_DONE
    assert err.count("\n") == 1 and "--threshold" in err and "'0.5'" in err and "none" in err


def test_interrupted(start, tmp_path):
    run = start("--workers", "2")
    wait_for(lambda: len(files(tmp_path / "rows")) >= 2 or run.poll() is not None, LIMIT)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to all
    out, err = run.communicate(timeout=60)
    assert run.returncode == exit_codes.INTERRUPTED
    assert re.fullmatch(rf"interrupted, \d+ of {COUNT + 1} pictures done\n", err.splitlines(True)[-1])
    assert "Traceback" not in err
    assert not of_session(run.pid)
    assert rows(tmp_path / "rows")


def test_the_example_runs(repository, tmp_path):
    script = repository / "examples" / "on_ray.py"
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, str(script), "--workers", "1"], cwd=tmp_path, env=environment, check=False,
                          capture_output=True, text=True, timeout=LIMIT)  # fmt: skip
    assert (done.returncode, done.stderr) == (exit_codes.DONE, "")
    drawn = sorted(path.name for path in (repository / "demo" / "images").glob("*.png"))
    lines = done.stdout.splitlines()[-len(drawn) :]
    assert [line.split()[0] for line in lines] == drawn and all("%" in line for line in lines)
