"""What is exported: a method with its whole evaluation protocol, and CLIP's text tower, as functions of tensors.

Shape letters: T words, P prompt templates, C joint CLIP width, h w pixels, n texts, L tokens.
"""

from copy import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from openvocab.clip.text_encoder import TextEncoder
from openvocab.export.pillow import resize_as_pillow
from openvocab.interfaces import TextFeatures
from openvocab.tracing import computed
from openvocab.windows import resize

ANSWERS = ("labels", "probabilities")
MIN_SIDE, MAX_SIDE = 2, 8192  # pixels; a graph for pictures of one row would be another one
MAX_WORDS = 65535  # as in a label map
_TRACED_SIDES, _TRACED_WORDS, _TRACED_TEXTS, _TRACED_TOKENS = (96, 128), 7, 3, 9


class Signature(NamedTuple):
    """A value that goes into a graph or comes out of it.

    Attributes:
        name: of the input or output.
        shape: letters for what may vary.
        dtype: as NumPy calls it.
        about: range and meaning.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    about: str


class SegmentationGraph(nn.Module):
    """The function of `Segmenter.__call__` or `Segmenter.probabilities` from pixels and embeddings.

    Args:
        model: a method in evaluation mode; it is left as it is, and the graph does without its text tower.
        cfg: that it was built from.
        answer: of `ANSWERS`.

    Raises:
        ValueError: another answer, or an evaluation that is no function of one view of the picture.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode, answer: str) -> None:
        super().__init__()
        if answer not in ANSWERS:
            raise ValueError(f"answer: expected one of {', '.join(ANSWERS)}, got {answer!r}")
        model.check_seen_once()
        if getattr(model, "pruning", None):
            raise ValueError(
                "MODEL.CATSEG.PRUNING: which words are left out is no part of a graph, expected PER_TOKEN "
                "0 and PER_PIXEL 0"
            )
        self.model = _without(model, model.text_encoder)
        self.answer = answer
        self.prompts, self.width = len(model.vocabulary.templates), model.text_encoder.spec.embed_dim
        self.short, self.long = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST

    def forward(self, image: Tensor, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Segments.

        Args:
            image: (h, w, 3) uint8 RGB.
            embeddings: (T, P, C) float32, L2-normalised along C.

        Returns:
            (h, w) int32 labels and (h, w) float32 scores; or (T, h, w) float32 probabilities alone.
        """
        size = image.shape[0], image.shape[1]
        dtype = next(self.model.parameters()).dtype
        seen = self.model.see(self._seen_picture(image).permute(2, 0, 1).to(dtype))
        maps = self.model.seen_maps(seen, size, TextFeatures(embeddings.to(dtype)))
        probabilities = resize(maps[None], size)[0].float()
        if self.answer == "probabilities":
            return (probabilities,)
        scores, labels = probabilities.max(dim=0)
        return labels.int(), scores

    def _seen_picture(self, image: Tensor) -> Tensor:
        """Does what `openvocab.inference.sizes.seen_picture` does with Pillow."""
        if not self.short:
            return image
        sides = [torch.scalar_tensor(side, dtype=torch.float64) for side in image.shape[:2]]
        scale = torch.minimum(self.short / torch.minimum(*sides), self.long / torch.maximum(*sides))
        height, width = (computed((scale * side + 0.5).floor().clamp(min=1), MIN_SIDE, MAX_SIDE) for side in sides)
        return resize_as_pillow(image, height, width)

    def signatures(self) -> tuple[list[Signature], list[Signature]]:
        """Describes inputs and outputs."""
        inputs = [
            Signature("image", ("h", "w", 3), "uint8",
                      f"one picture, RGB, 0..255; h and w {MIN_SIDE}..{MAX_SIDE} pixels"),
            Signature("embeddings", ("T", self.prompts, self.width), "float32", f"of T words (1..{MAX_WORDS}), each of "
                      "length 1 along the last axis; from `openvocab words` or the text tower"),
        ]  # fmt: skip
        if self.answer == "probabilities":
            return inputs, [Signature("probabilities", ("T", "h", "w"), "float32", "0..1, of each word at each pixel")]
        return inputs, [
            Signature("labels", ("h", "w"), "int32", "0..T-1, the word that fits best"),
            Signature("scores", ("h", "w"), "float32", "0..1, the probability of that word"),
        ]

    def example(self) -> tuple[Tensor, Tensor]:
        """Makes inputs of the right shape."""
        embeddings = torch.randn(_TRACED_WORDS, self.prompts, self.width, generator=torch.Generator().manual_seed(0))
        return torch.zeros(*_TRACED_SIDES, 3, dtype=torch.uint8), F.normalize(embeddings, dim=-1)

    def traced(self) -> ExportedProgram:
        """Traces the graph, for pictures of any size and any number of words."""
        side = {"min": MIN_SIDE, "max": MAX_SIDE}
        sizes = {0: Dim("h", **side), 1: Dim("w", **side)}
        words = {0: Dim("T", min=1, max=MAX_WORDS)}
        return _traced(self, self.example(), {"image": sizes, "embeddings": words})


class TextGraph(nn.Module):
    """CLIP's text tower from tokens to normalised embeddings.

    Args:
        encoder: in evaluation mode.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """Embeds texts.

        Args:
            tokens: (n, L) int64, each row from the start token to the end token, then zeros.

        Returns:
            (n, C) float32, L2-normalised.
        """
        last = tokens.argmax(dim=1)  # the end token has the largest id
        return (F.normalize(self.encoder.encode_padded(tokens, last), dim=-1).float(),)

    def signatures(self) -> tuple[list[Signature], list[Signature]]:
        """Describes inputs and outputs."""
        spec = self.encoder.spec
        tokens = (
            f"0..{spec.vocab_size - 1}, of CLIP's tokenizer: start, text, end, then zeros; L 2..{spec.context_length}"
        )
        return (
            [Signature("tokens", ("n", "L"), "int64", tokens)],
            [Signature("embeddings", ("n", spec.embed_dim), "float32", "each of length 1")],
        )

    def example(self) -> tuple[Tensor]:
        """Makes inputs of the right shape."""
        tokens = torch.randint(1, 99, (_TRACED_TEXTS, _TRACED_TOKENS), generator=torch.Generator().manual_seed(0))
        tokens[:, -1] = self.encoder.spec.vocab_size - 1
        return (tokens,)

    def traced(self) -> ExportedProgram:
        """Traces the graph, for any number of texts of any length."""
        lengths = {0: Dim("n", min=1, max=1 << 20), 1: Dim("L", min=2, max=self.encoder.spec.context_length)}
        return _traced(self, self.example(), {"tokens": lengths})


def _without(model: nn.Module, part: nn.Module) -> nn.Module:
    """Gives a model of the same parameters that lacks one of its parts, wherever it is in it."""
    twin = copy(model)
    twin._modules = {
        name: _without(child, part) for name, child in model._modules.items() if child is not part and child is not None
    }
    return twin


def _traced(graph: nn.Module, example: tuple[Tensor, ...], shapes: dict) -> ExportedProgram:
    with torch.enable_grad():  # off the fast path, whose packed weights are this machine's
        return export(graph.eval(), example, dynamic_shapes=shapes, strict=False)
