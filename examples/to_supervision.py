"""Draws an answer with the library supervision (pip install supervision), whose trackers and annotators take it.

python examples/to_supervision.py [PICTURE] [ANNOTATED]
"""

import sys
from pathlib import Path

import supervision
from PIL import Image

from openvocab import Segmenter

PICTURE = Path(__file__).resolve().parent.parent / "demo" / "images" / "garden.png"


def main() -> None:
    """Prints one line per word, and writes the annotated picture."""
    picture = sys.argv[1] if len(sys.argv) > 1 else PICTURE
    target = sys.argv[2] if len(sys.argv) > 2 else "annotated.png"
    result = Segmenter.load("emojiscapes_lseg")(picture, ["dog", "house|home", "tree", "grass", "sky"])
    detections = result.to_supervision()
    for box, score, name in zip(detections.xyxy, detections.confidence, detections.data["class_name"], strict=True):
        print(f"{name}: {score:.2f} in {box.astype(int).tolist()}")
    scene = supervision.MaskAnnotator(opacity=0.5).annotate(result.image[..., ::-1].copy(), detections)  # BGR
    scene = supervision.LabelAnnotator(text_position=supervision.Position.CENTER_OF_MASS).annotate(scene, detections)
    Image.fromarray(scene[..., ::-1]).save(target)
    print(f"written: {target}")


if __name__ == "__main__":
    main()
