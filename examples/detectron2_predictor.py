"""The methods as stock Detectron2 has its models: a config, `DefaultPredictor`, `Visualizer`.

python examples/detectron2_predictor.py [PICTURE [OUTPUT]]
"""

import sys
from pathlib import Path

import cv2
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.utils.visualizer import Visualizer

from catseg import add_catseg_config
from openvocab.assets import config_path, weights_path

PICTURE = Path(__file__).resolve().parent.parent / "demo" / "images" / "garden.png"
WORDS = ["dog", "house", "tree", "grass", "sky"]


def main(picture: str | Path = PICTURE, output: str = "detectron2.png") -> None:
    """Draws the words of a picture."""
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.merge_from_file(config_path("emojiscapes/catseg"))
    cfg.MODEL.WEIGHTS = str(weights_path("emojiscapes_catseg.pth"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.VOCABULARY.TEST = ", ".join(WORDS)
    image = cv2.imread(str(picture))
    labels = DefaultPredictor(cfg)(image)["sem_seg"].argmax(dim=0)
    metadata = MetadataCatalog.get("words of the example").set(stuff_classes=WORDS)
    drawn = Visualizer(image[..., ::-1], metadata).draw_sem_seg(labels)
    drawn.save(output)
    print(f"{output}: {', '.join(WORDS[index] for index in labels.unique())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
