"""An exported model on a machine without torch: onnxruntime, numpy and Pillow.

openvocab export emojiscapes_catseg --to onnx --output exported
openvocab words "dog, house, tree, grass, sky" --model emojiscapes_catseg --output words.safetensors
python examples/onnx_runtime.py exported/emojiscapes_catseg.onnx words.safetensors demo/images/garden.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read_words(path: str) -> tuple[dict, np.ndarray]:
    """Reads what `openvocab words` wrote: the header, and embeddings (T, P, C)."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    entry = header["embeddings"]
    first, last = (start + offset for offset in entry["data_offsets"])
    embeddings = np.frombuffer(content[first:last], np.float32).reshape(entry["shape"])
    return json.loads(header["__metadata__"]["openvocab"]), embeddings


def main(model: str, words: str, picture: str) -> None:
    """Prints the share of each word, and writes the label map beside the picture's name."""
    session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
    about = json.loads(session.get_modelmeta().custom_metadata_map["openvocab"])
    header, embeddings = read_words(words)
    if header["text_tower"] != about["text_tower"]:
        sys.exit(
            f"error: {words} holds embeddings of another CLIP ({header['clip']}) than {model} ({about['clip']}): "
            f"openvocab words ... --model {about['model']}"
        )
    image = np.asarray(ImageOps.exif_transpose(Image.open(picture)).convert("RGB"))
    labels, scores = session.run(None, {"image": image, "embeddings": embeddings})
    for number, synonyms in enumerate(header["entries"]):
        mask = labels == number
        print(f"{synonyms[0]:12} {100 * mask.mean():5.1f} %  score {scores[mask].mean() if mask.any() else 0:.2f}")
    Image.fromarray(labels.astype(np.uint16)).save(f"{Path(picture).stem}_labels.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
