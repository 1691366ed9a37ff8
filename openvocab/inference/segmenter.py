"""The public API: a model that takes any picture and any words.

Shape letters: T text channels, h w pixels of the picture.
"""

import logging
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from openvocab.assets import weights_path
from openvocab.devices import check_device, check_precision, usable_precision
from openvocab.inference.images import ImageLike, read_image
from openvocab.inference.memory import require
from openvocab.inference.result import Result
from openvocab.vocab.background import combine
from openvocab.vocab.cleaning import comparable
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import SYNONYM_RULES, Vocabulary
from openvocab.windows import resize, resized_parts

logger = logging.getLogger(__name__)

Words = Vocabulary | Sequence[str]

_MAX_SIDE = 2048  # pixels; without sliding window, larger answers are upsampled here, chunk by chunk
_MAX_ANSWER = 1 << 28  # elements of the (T, h, w) answer asked of a model (1 GiB)
_CHUNK = 1 << 26  # elements upsampled at once (256 MiB)
_SHOWN_WORDS = 10  # in a warning


class Segmenter:
    """A segmentation model with its config.

    Calls are independent of each other: the words travel with each picture, and nothing is kept but text embeddings
    under their own key. Several segmenters may live in one process.

    Example:
        >>> segmenter = Segmenter.load("catseg_b")
        >>> result = segmenter("img.jpg", ["cat", "sofa|couch"])
        >>> result.save("masks.png")
    """

    def __init__(self, model: nn.Module, cfg, *, name: str, weights: str = "", dtype: str = "float32",
                 synonyms: str | None = None, trained: TrainedWords | None = None, notice: str = "") -> None:
        """Wraps a model that is built already; most callers want `load`.

        Args:
            model: takes [{"image", "height", "width", "vocabulary", "output"}] and gives, for the output "sem_seg",
                [{"sem_seg": (T, height, width)}], the probabilities of each word, and for "labels" the best class per
                pixel and its score; see `openvocab.model.OpenVocabularyModel`. Has an attribute `device`. Put into
                evaluation mode here.
            cfg: the config it was built from.
            name: of the model, for reports.
            weights: the file its parameters came from, for reports.
            dtype: "float32", "bfloat16" or "float16" (the latter two by autocast). Where the device can only emulate
                it, float32 is used and a warning says so; "bfloat16!" and "float16!" are taken anyway.
            synonyms: rule for words that bring none, "mean" or "first"; default: what the model was trained under where
                that mattered, else "mean".
            trained: what the file of the parameters says of the words that training has shown.
            notice: goes into every result, see `Result.notice`.

        Raises:
            ValueError: another dtype or rule.
        """
        check_precision(dtype)
        self.model = model.eval()
        self.cfg = cfg
        self.name = name
        self.weights = weights
        self.dtype = str(usable_precision(dtype, self.device)).removeprefix("torch.")
        if synonyms not in (None, *SYNONYM_RULES):
            raise ValueError(f"synonyms: expected one of {SYNONYM_RULES}, got {synonyms!r}")
        self.synonyms = synonyms or (trained and trained.synonyms) or "mean"
        self.trained = trained
        self.notice = notice
        self._warned: set[str] = set()  # once per word is enough, however many pictures follow

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.model.device)

    @classmethod
    def load(
        cls,
        name_or_config: str | os.PathLike | None = None,
        weights: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        dtype: str | None = None,
        overrides: Sequence[str] = (),
        synonyms: str | None = None,
    ) -> "Segmenter":
        """Builds a model and loads its parameters.

        Args:
            name_or_config: a name of `openvocab.checkpoint.zoo` ("emojiscapes_catseg" ships with the package,
                "catseg_b" and "catseg_l" are fetched once), or the path of a config (.yaml). Default: "catseg_b"; where
                it cannot be had, the small model stands in with a warning, which every result repeats.
            weights: file of parameters; needed for a config whose MODEL.WEIGHTS is empty.
            device: "cpu", "cuda", "cuda:1", "mps"; default: "cuda" where there is one, else "cpu".
            dtype: "float32" (default), "bfloat16" or "float16"; see the constructor.
            overrides: flat KEY, VALUE pairs for the config.
            synonyms: see the constructor. Parameters that were trained here on words with synonyms bring their prompt
                templates as well, unless `overrides` name MODEL.VOCABULARY.TEMPLATES.

        Returns:
            a segmenter in evaluation mode.

        Raises:
            ValueError: unknown name, config key, device or dtype, missing file, or parameters of another model.
            DownloadError: the parameters cannot be fetched.
        """
        from openvocab.checkpoint import zoo
        from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, choose
        from openvocab.checkpoint.load import load_weights
        from openvocab.clip.weights import refuse_text
        from openvocab.engine.setup import build_cfg, build_model

        dtype = check_precision(dtype or "float32")
        chosen, notice = check_device(device), ""
        if name_or_config is None and weights is None:
            choice = choose()
            name_or_config, weights, notice = choice.model.name, choice.weights, choice.notice
            if notice:
                logger.warning("%s", notice)
        elif name_or_config is None:
            name_or_config = FOR_PHOTOGRAPHS
        text, entry = os.fspath(name_or_config), None
        if text.endswith((".yaml", ".yml")):
            if not Path(text).is_file():
                raise ValueError(f"config: no such file: {text}")
            cfg, name = build_cfg(text, overrides), Path(text).stem
            file = _config_weights(weights or cfg.MODEL.WEIGHTS, text)
        else:
            entry = zoo.find(text)
            cfg, name = build_cfg(entry.config, overrides), entry.name
            file = zoo.weights_file(entry, weights)
        refuse_text(file)
        cfg.MODEL.DEVICE = str(chosen)
        cfg.MODEL.WEIGHTS = str(file)  # it holds the whole model, so nothing is fetched for its parts
        model = build_model(cfg)
        trained = load_weights(model, str(file))
        if trained and trained.templates and "MODEL.VOCABULARY.TEMPLATES" not in overrides[::2]:
            cfg.MODEL.VOCABULARY.TEMPLATES = trained.templates
            model.set_templates(trained.templates)
        if entry is not None:
            zoo.note_hash(entry, file)
        logger.info("loaded %s (%s) on %s", name, file, chosen)
        return cls(model, cfg, name=name, weights=str(file), dtype=dtype, synonyms=synonyms, trained=trained,
                   notice=notice)

    def __call__(
        self, image: ImageLike, words: Words, background: Words = (), threshold: float | None = None,
        synonyms: str | None = None,
    ) -> Result:
        """Gives every pixel the word that fits best.

        Memory stays far below T x h x w floats: the model upsamples a few words at a time with a running maximum.

        Args:
            image: path, PIL image or (h, w, 3) uint8 RGB array.
            words: a list, "|" joining synonyms, or a `Vocabulary`.
            background: words for "none of these": where one of them fits best, the label is -1.
            threshold: 0..1; where the best score is lower, the label is -1.
            synonyms: "mean" of the synonyms or "first" word only; default: the vocabulary's own rule, else
                `Segmenter.synonyms`.

        Returns:
            labels, scores and names, with the picture.

        Raises:
            ValueError: an unreadable picture, no word, a blank word, a word twice (also one that is in both `words`
                and `background`), a threshold outside 0..1, or more words than fit into memory.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected 0..1, got {threshold!r}")
        wanted, asked = self._asked(words, background, synonyms)
        pixels = read_image(image)
        answer = self._ask(pixels, asked, pixels.shape[:2], "labels")
        labels, scores = answer["labels"].int(), answer["scores"].float()
        self._require_finite(scores)
        labels[labels >= len(wanted.names)] = -1
        if threshold is not None:
            labels[scores < threshold] = -1
        return Result(
            image=pixels,
            labels=labels.cpu().numpy(),
            scores=scores.cpu().numpy(),
            names=list(wanted.names),
            vocabulary=wanted.entries,
            synonyms=wanted.synonyms,
            templates=self.cfg.MODEL.VOCABULARY.TEMPLATES,
            background=asked.entries[len(wanted) :],
            threshold=threshold,
            model=self.name,
            weights=self.weights,
            precision=self.dtype,
            notice=self.notice,
        )

    def probabilities(self, image: ImageLike, words: Words, synonyms: str | None = None) -> np.ndarray:
        """Gives the probability of every word at every pixel.

        Args:
            image: as in the call.
            words: as in the call.
            synonyms: as in the call.

        Returns:
            (T, h, w) float32, 0..1; T is the number of words (of a vocabulary's channels).

        Raises:
            ValueError: as in the call; also if T x h x w floats do not fit into memory.
        """
        _, asked = self._asked(words, synonyms=synonyms)
        mains = tuple(entry[0] for entry in asked.entries)
        asked = replace(asked, names=mains, channel_to_class=None)  # every word, also of those that share a class
        pixels = read_image(image)
        height, width = pixels.shape[:2]
        count = len(asked)
        require(4 * count * height * width, torch.device("cpu"), f"words: {count} words at {height} x {width} pixels")
        answer = self._answer(pixels, asked)
        if answer.shape[1:] == (height, width):
            return answer.cpu().numpy()
        full = np.empty((count, height, width), np.float32)
        for start, part in resized_parts(answer, (height, width), _CHUNK):
            full[start : start + len(part)] = part.cpu().numpy()
        return full

    def pixel_embeddings(self, image: ImageLike, resolution: str = "half") -> np.ndarray:
        """Embeds every pixel in the space of `text_embeddings`: their dot product is a cosine.

        Args:
            image: as in the call.
            resolution: "half" gives the model's own grid, half of the size at which it sees the picture
                (INPUT.MIN_SIZE_TEST); "image" the picture's size (bilinear, normalised again).

        Returns:
            (C, h', w') float32, L2-normalised along C.

        Raises:
            ValueError: another resolution, a model without pixel embeddings (CAT-Seg compares before it decodes), an
                unreadable picture, or C x h x w floats that do not fit into memory.
        """
        if resolution not in ("half", "image"):
            raise ValueError(f"resolution: expected 'half' or 'image', got {resolution!r}")
        if not hasattr(self.model, "pixel_embeddings"):
            raise ValueError(f"model: {self.name} ({type(self.model).__name__}) has no pixel embeddings, expected LSeg")
        pixels = read_image(image)
        views = torch.from_numpy(self._resized(pixels)).permute(2, 0, 1)[None]
        with torch.inference_mode(), self._autocast():
            embeddings = self.model.pixel_embeddings(views).float()
        if resolution == "image":
            height, width = pixels.shape[:2]
            what = f"image: embeddings of {height} x {width} pixels"
            require(8 * embeddings.shape[1] * height * width, self.device, what)
            embeddings = torch.nn.functional.normalize(resize(embeddings, (height, width)), dim=1)
        return embeddings[0].cpu().numpy()

    def text_embeddings(self, words: Words, synonyms: str | None = None) -> np.ndarray:
        """Embeds words in the joint image-text space.

        Args:
            words: as in the call.
            synonyms: as in the call.

        Returns:
            (T, C) float32, L2-normalised; several prompt templates are averaged and normalised again.

        Raises:
            ValueError: no word, a blank word, or a word twice.
        """
        vocabulary = self._asked(words, synonyms=synonyms)[0]
        with torch.inference_mode():
            embeddings = self.model.text_encoder(vocabulary, self.model.vocabulary.templates).embeddings.mean(dim=1)
        return torch.nn.functional.normalize(embeddings.float(), dim=-1).cpu().numpy()

    def unknown_words(self, vocabulary: Vocabulary) -> list[str]:
        """Lists the words that the model cannot know: neither its CLIP nor a later training here has seen them.

        Args:
            vocabulary: the words.

        Returns:
            The unknown ones; empty if the text encoder does not say.
        """
        ask = getattr(getattr(self.model, "text_encoder", None), "unknown_words", None)
        seen = self.trained.seen if self.trained else frozenset()
        return [word for word in ask(vocabulary) if comparable(word) not in seen] if ask is not None else []

    def _asked(
        self, words: Words, background: Words = (), synonyms: str | None = None
    ) -> tuple[Vocabulary, Vocabulary]:
        pair = combine(words, background, self.synonyms)
        return pair if synonyms is None else tuple(vocabulary.with_synonyms(synonyms) for vocabulary in pair)

    def _warn_of_unknown_words(self, vocabulary: Vocabulary) -> None:
        new = [word for word in self.unknown_words(vocabulary) if word not in self._warned]
        self._warned.update(new)
        if new:
            shown = ", ".join(new[:_SHOWN_WORDS]) + (f" and {len(new) - _SHOWN_WORDS} more" * (len(new) > _SHOWN_WORDS))
            logger.warning("%s has never seen these words, expect no sense from them: %s", self.name, shown)

    def _answer(self, pixels: np.ndarray, vocabulary: Vocabulary) -> Tensor:
        """Returns (T, h', w') float32 probabilities on the model's device, at most as large as the picture."""
        size = self._answer_size(*pixels.shape[:2], len(vocabulary))
        answer = self._ask(pixels, vocabulary, size, "sem_seg")["sem_seg"].float()
        self._require_finite(answer)
        return answer

    def _ask(
        self, pixels: np.ndarray, vocabulary: Vocabulary, size: tuple[int, int], output: str
    ) -> dict[str, Tensor]:
        """Runs the model."""
        self._warn_of_unknown_words(vocabulary)
        image = torch.from_numpy(self._resized(pixels)).permute(2, 0, 1)
        request = {"image": image, "height": size[0], "width": size[1], "vocabulary": vocabulary, "output": output}
        try:
            with torch.inference_mode(), self._autocast():
                return self.model([request])[0]
        except torch.OutOfMemoryError as error:
            raise ValueError(f"words: {len(vocabulary)} words do not fit into the memory of {self.device}") from error

    def _require_finite(self, answer: Tensor) -> None:
        if not bool(torch.isfinite(answer).all()):
            raise ValueError(f"dtype: the model's answer is not finite in {self.dtype}; try float32 or bfloat16")

    def _answer_size(self, height: int, width: int, count: int) -> tuple[int, int]:
        """Chooses the size asked of the model, and refuses what cannot fit into memory.

        The sliding window ends in a square of its own and maps it to the wanted size in one bilinear step. Asking for
        that square and doing the last step here gives the same numbers. Without sliding window, a very large answer is
        capped at 2048 pixels: the model's own grid is far coarser than that.
        """
        window = self.cfg.TEST.SLIDING_WINDOW
        what = f"words: {count} words"
        if self.cfg.TEST.AUG.ENABLED:  # views of several sizes have no size in common but the picture's
            require(4 * count * 3 * max(height * width, max(self.cfg.TEST.AUG.MIN_SIZES) ** 2), self.device, what)
            return height, width
        if window.ENABLED:
            square = window.SIZE * window.SIZE
            require(4 * count * (2 * square + 5 * window.KERNEL**2), self.device, what)
            return (window.SIZE, window.SIZE) if height * width > square else (height, width)
        scale = min(1.0, _MAX_SIDE / max(height, width), math.sqrt(_MAX_ANSWER / (count * height * width)))
        size = max(1, round(scale * height)), max(1, round(scale * width))
        require(4 * count * 2 * size[0] * size[1], self.device, what)
        return size if scale < 1 else (height, width)

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        """Resizes as the evaluation does (short side INPUT.MIN_SIZE_TEST, antialiased): both see the same picture."""
        height, width = pixels.shape[:2]
        short, long = self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST
        if short == 0 or self.cfg.TEST.AUG.ENABLED:  # which has sizes of its own
            return pixels.copy()
        scale = min(short / min(height, width), long / max(height, width))
        size = max(1, int(scale * width + 0.5)), max(1, int(scale * height + 0.5))
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))

    def _autocast(self) -> AbstractContextManager:
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.dtype))


def _config_weights(weights: str | os.PathLike, config: str) -> Path:
    if not os.fspath(weights):
        raise ValueError(f"weights: {config} names none (MODEL.WEIGHTS is empty); pass a file")
    return weights_path(weights)
