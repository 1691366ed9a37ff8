"""Code in the documentation runs, its links lead somewhere, and its figures of a GPU are those of the tables."""

import csv
import re
from itertools import product, takewhile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for pattern in ("*.md", "docs/*.md", "datasets/*.md", "tests/golden/*.md")
         for path in sorted(ROOT.glob(pattern))]  # fmt: skip


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.DOTALL | re.M)


def test_code_of_detectron2(tmp_path, monkeypatch):
    from detectron2.modeling import BACKBONE_REGISTRY

    monkeypatch.chdir(tmp_path)
    image = cv2.imread(str(ROOT / "demo" / "images" / "garden.png"))[:96, :128]
    names = {"image": image, "__name__": "docs"}
    for block in blocks("DETECTRON2.md"):
        exec(compile(block, "docs/DETECTRON2.md", "exec"), names)
    BACKBONE_REGISTRY._obj_map.pop("ClipBackbone")
    assert names["answer"].shape == names["averaged"].shape == (4, 96, 128)
    assert not np.array_equal(names["answer"].numpy(), names["averaged"].numpy())
    assert names["drawn"].shape == image.shape
    assert len(names["released"]) == len([key for key in names["state"]]) + 2, "and two attention masks"
    assert names["results"]["sem_seg"]["pACC"] > 20
    names["segmentor"].eval()
    assert names["segmentor"]([{"image": np_to_tensor(image)}])[0]["sem_seg"].shape == (54, 96, 128)


def np_to_tensor(image):
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def anchors(page):
    """The anchors that a page's headings get: lower case, no punctuation, a hyphen for each blank."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            goal = path.parent / target if target else path
            assert goal.exists(), f"{target} does not exist"
            assert not anchor or anchor in anchors(goal.read_text(encoding="utf-8")), f"no heading {target}#{anchor}"


def printed(name, header):
    """The rows of the table of docs/PERFORMANCE.md that begins with `header`, and those of a table of the GPU."""
    below = (ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8").split(f"\n{header}")[1].splitlines()[2:]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in takewhile(lambda x: x.startswith("|"), below)]
    with open(ROOT / "benchmarks" / "results" / "gpu_h100" / name, encoding="utf-8", newline="") as file:
        return lines, list(csv.DictReader(file))


def test_times_on_a_gpu_are_those_of_the_table():
    lines, table = printed("speed.csv", "| ms | 1 word |")
    methods, words = {"CAT-Seg B": "catseg_b", "LSeg L/16": "lseg_l16"}, ("1", "7", "20", "150", "459", "847")
    ms = {(row["method"], row["way"], row["precision"], row["words"]): float(row["ms"])
          for row in table if row["images"] == "1"}  # fmt: skip
    for title, *cells in lines:
        method, *cell = title.split(", ")
        found = [ms.get((methods[method], *cell, count)) for count in words]
        assert cells == ["" if value is None else f"{value:.{1 if value < 100 else 0}f}" for value in found], title
    assert len(lines) == 12


def test_times_of_kernels_are_those_of_the_table():
    lines, table = printed("kernels.csv", "| ms | forward: eager |")
    ms = {(row["operation"], row["dtype"], row["backward"], row["implementation"]): f"{float(row['milliseconds']):.2f}"
          for row in table if row["classes"] == "150"}  # fmt: skip
    for title, *cells in lines:
        columns = product(("False", "True"), ("eager", "compiled", "triton"))
        assert cells == [ms.get((*title.split(", "), *column), "") for column in columns], title
    assert len(lines) == 8
