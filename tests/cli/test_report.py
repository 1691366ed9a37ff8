"""`openvocab report`: what a training left, on one page; several side by side; and what is no training."""

import json
import re

import pytest
from PIL import Image

from openvocab.cli import program
from openvocab.reporting.runs import Run, differences


@pytest.fixture
def training(tmp_path):
    """Writes a folder as a training leaves it."""

    def write(name, rate=0.1, most=40, losses=(0.9, 0.5, 0.25), sheet=True):
        folder = tmp_path / name
        (folder / "sheets").mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"OUTPUT_DIR: {folder}\nSOLVER: {{BASE_LR: {rate}, MAX_ITER: {most}}}\nMODEL: {{META_ARCHITECTURE: X}}\n"
        )
        lines = [{"iteration": 20 * place + 19, "total_loss": loss, "time": 0.5, "sem_seg/mIoU": 10.0 * place}
                 for place, loss in enumerate(losses)]  # fmt: skip
        (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "birds_results.json").write_text(json.dumps({"scores": {"mIoU": 61.25, "mIoU-unseen": None}}))
        if sheet:
            for iteration in (20, 40):
                Image.new("RGB", (8, 8), (iteration, 0, 0)).save(folder / "sheets" / f"{iteration:07d}_birds.png")
        return folder

    return write


def test_one_training_as_html(training, capsys):
    folder = training("run")
    assert program.main(["report", str(folder)]) == 0
    assert f"{folder}/report.html  1 training, " in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    for part in ("<h1>Training run</h1>", "<td>40 of 40</td>", "<td>0.5 (median)</td>", "<td>61.2</td>",
                 "<h2>run: 0000040_birds</h2>"):  # fmt: skip
        assert part in page, part
    assert len(re.findall("data:image/png;base64,", page)) == 4, "loss, score, time, sheet"
    assert "http" not in page, "nothing comes from outside"


def test_several_as_markdown(training, tmp_path):
    folders = [training("slow", rate=0.001), training("fast", rate=0.01, sheet=False)]
    assert program.main(["report", *map(str, folders), "--output", str(tmp_path / "both.md")]) == 0
    text = (tmp_path / "both.md").read_text()
    assert "| SOLVER.BASE_LR | 0.001 | 0.01 |" in text and "| OUTPUT_DIR" not in text
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(links) == 4 and all((tmp_path / link).is_file() for link in links)
    assert Image.open(tmp_path / links[0]).width > 500


def test_a_line_that_is_being_written_and_one_that_was_written_twice(training):
    folder = training("run")
    with (folder / "metrics.json").open("a") as file:
        file.write('{"iteration": 59, "lr": 0.5}\n{"iteration": 79, "tot')
    run = Run.read(folder)
    assert run.iterations == 60 and run.curve("lr") == ([59], [0.5])
    assert run.curve("total_loss") == ([19, 39, 59], [0.9, 0.5, 0.25])
    assert differences([run, run]) == {}


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "metrics.json").unlink(), "got no metrics.json, expected the OUTPUT_DIR of a training"),
    (lambda folder: (folder / "config.yaml").unlink(), "got no config.yaml"),
    (lambda folder: (folder / "config.yaml").write_text("a: [1"), "config.yaml: expected YAML"),
    (lambda folder: (folder / "metrics.json").write_text("{}\n{}\n"), "metrics.json, line 1: got '{}'"),
    (lambda folder: (folder / "birds_results.json").write_text("no"), "birds_results.json: expected JSON"),
])  # fmt: skip
def test_what_is_no_training(training, capsys, damage, message):
    folder = training("run")
    damage(folder)
    assert program.main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_another_ending(training, capsys):
    assert program.main(["report", str(training("run")), "--output", "page.pdf"]) == 2
    assert "--output: expected a file that ends in .html or .md, got page.pdf" in capsys.readouterr().err
