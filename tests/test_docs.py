"""Code in the documentation runs."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / "docs" / target).exists(), target
