"""The public API: a model that takes any picture and any words.

Shape letters: T text channels, h w pixels of the picture.
"""

import logging
import os
from collections.abc import Generator, Iterable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openvocab.checkpoint.notes import sha256_of
from openvocab.devices import check_precision, usable_precision
from openvocab.inference.absent import cut_of
from openvocab.inference.images import ImageLike, read_image
from openvocab.inference.look import Heatmap, Look
from openvocab.inference.many import Answer, answers, checked_batch_size, checked_images
from openvocab.inference.memory import require
from openvocab.inference.question import Question, Words, word_by_word
from openvocab.inference.result import Result
from openvocab.inference.running import ask, running
from openvocab.inference.sizes import answer_size, seen_picture
from openvocab.inference.unknown import UnknownWords
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import SYNONYM_RULES, Vocabulary
from openvocab.windows import resize, resized_parts

logger = logging.getLogger(__name__)

_CHUNK = 1 << 26  # elements upsampled at once (256 MiB)


class Segmenter:
    """A segmentation model with its config.

    Calls are independent of each other: the words travel with each picture, and nothing is kept but text embeddings
    under their own key. Several segmenters may live in one process.

    Examples:
        >>> segmenter = Segmenter.load("catseg_b")
        >>> segmenter("img.jpg", ["cat", "sofa|couch"]).save("masks.png")
    """

    def __init__(
        self,
        model: nn.Module,
        cfg,
        *,
        name: str,
        weights: str = "",
        dtype: str = "float32",
        synonyms: str | None = None,
        trained: TrainedWords | None = None,
        notice: str = "",
    ) -> None:
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
        self._unknown = UnknownWords(name, self.model, trained)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.model.device)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of its parameters; read once."""
        return sha256_of(self.weights)

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
                "catseg_b" and "catseg_l" are fetched once), the path of a config (.yaml), or the OUTPUT_DIR of a
                training, whose newest checkpoint is taken. Default: "catseg_b"; where it cannot be had, the small model
                stands in with a warning, which every result repeats.
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
        from openvocab.inference.loading import load

        dtype = check_precision(dtype or "float32")
        loaded = load(name_or_config, weights, device, overrides)
        return cls(
            loaded.model,
            loaded.cfg,
            name=loaded.name,
            weights=loaded.weights,
            dtype=dtype,
            synonyms=synonyms,
            trained=loaded.trained,
            notice=loaded.notice,
        )

    def look(self, image: ImageLike) -> Look:
        """Does all that needs no word, so that asking costs the rest only.

        Args:
            image: as in the call.

        Returns:
            What was seen, which takes the place of the picture in `__call__`, `probabilities` and `heatmap`, as often
            as wanted, with the same answers to the last digit. It holds memory until it is freed.

        Raises:
            ValueError: an unreadable picture, a model that cannot look, or one whose evaluation sees a picture at
                several sizes (TEST.AUG, TEST.MULTI_SCALE).
        """
        if not hasattr(self.model, "see"):
            raise ValueError(
                f"model: {self.name} ({type(self.model).__name__}) has no `see`, expected one of this project's methods"
            )
        self.model.check_seen_once()
        pixels = read_image(image)
        with running(self.device, self.dtype):
            return Look(self, pixels, self.model.see(seen_picture(pixels, self.cfg)))

    def __call__(
        self,
        image: ImageLike,
        words: Words,
        background: Words = (),
        threshold: float | None = None,
        synonyms: str | None = None,
        absent: float | None = None,
    ) -> Result:
        """Gives every pixel the word that fits best.

        Memory stays far below T x h x w floats: the model upsamples a few words at a time with a running maximum.

        Args:
            image: path, PIL image, (h, w, 3) uint8 RGB array, or a `Look` of this segmenter.
            words: a list, "|" joining synonyms, or a `Vocabulary`.
            background: words for "none of these": where one of them fits best, the label is -1.
            threshold: 0..1; where the best score is lower, the label is -1.
            synonyms: "mean" of the synonyms or "first" word only; default: the vocabulary's own rule, else
                `Segmenter.synonyms`.
            absent: 0..1; of the pixels that words would get which the picture does not hold, at most this share is
                shown, the others are -1, by the model's curve (docs/USAGE.md#none-of-these). Not with `threshold`.

        Returns:
            labels, scores and names, with the picture.

        Raises:
            ValueError: an unreadable picture, a look that no longer counts, no word, a blank word, a word twice (also
                one that is in both `words` and `background`), a threshold outside 0..1, `absent` without a curve or
                with a threshold, or more words than fit into memory.
        """
        question = self._question(words, background, threshold, synonyms, absent)
        self.warn_of_unknown_words(question.asked)
        return self._results(question, [self._given(image)])[0]

    def many(
        self,
        images: Iterable[ImageLike | Look],
        words: Words,
        background: Words = (),
        threshold: float | None = None,
        synonyms: str | None = None,
        batch_size: int | None = None,
        absent: float | None = None,
    ) -> Generator[Answer, None, None]:
        """Answers many pictures with one question, while the next ones are read and computed.

        On a CPU every answer has the digits of the call. On a GPU, where pictures share a pass, sums may be taken in
        another order.

        Args:
            images: any iterable, also an endless one; a few are taken ahead.
            words: as in the call; encoded once.
            background: as in the call.
            threshold: as in the call.
            synonyms: as in the call.
            batch_size: pictures that are computed at a time, in one pass on a GPU (default 8), side by side on a CPU
                (default 2). Memory grows with it.
            absent: as in the call.

        Returns:
            A generator of one answer per picture, in order. A picture that cannot be answered is an answer, too.
            Closing it ends its threads.

        Raises:
            ValueError: at once, as in the call for what is asked; images that are one picture; a wrong batch size.
        """
        size, images = checked_batch_size(batch_size, self.device), checked_images(images)
        question = self._question(words, background, threshold, synonyms, absent)
        self.warn_of_unknown_words(question.asked)
        if hasattr(self.model, "vocabulary"):
            # Before threads would do it several times; words that do not fit are an error now.
            with running(self.device, self.dtype):
                self.model.text_encoder(question.asked, self.model.vocabulary.templates)
        return answers(images, self._given, partial(self._results, question), size, self.device.type != "cpu")

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
        asked = word_by_word(self._question(words, synonyms=synonyms).asked)
        pixels, given = self._given(image)
        count, (height, width) = len(asked), pixels.shape[:2]
        require(4 * count * height * width, torch.device("cpu"), f"words: {count} words at {height} x {width} pixels")
        answer = self._answer(given, asked, height, width)
        if answer.shape[1:] == (height, width):
            return answer.cpu().numpy()
        full = np.empty((count, height, width), np.float32)
        for start, part in resized_parts(answer, (height, width), _CHUNK):
            full[start : start + len(part)] = part.cpu().numpy()
        return full

    def heatmap(self, image: ImageLike, word: str, among: Words = (), synonyms: str | None = None) -> Heatmap:
        """Shows how well one word fits where, before and after the model has weighed it.

        Args:
            image: as in the call.
            word: such as "cat" or "sofa|couch".
            among: words that it is weighed against; may hold `word` itself.
            synonyms: as in the call.

        Returns:
            Its cosine before aggregation, which no other word changes, and its probability after it.

        Raises:
            ValueError: as in the call and in `look`.
        """
        one = self._question([word], synonyms=synonyms).wanted
        rest = self._question(among, synonyms=synonyms).wanted if len(among) else one
        if one.entries[0] not in rest.entries:
            rest = self._question(rest, one, synonyms=synonyms).asked  # under the rule of the others
        seen = image if isinstance(image, Look) else self.look(image)
        pixels, given = self._given(seen)
        size = pixels.shape[:2]
        with running(self.device, self.dtype):
            cosine = self.model.similarity(given["seen"], size, self.model.text_features(one))[0].float()
        answer = self._answer(given, word_by_word(rest), *size)[rest.entries.index(one.entries[0])]
        return Heatmap(cosine.cpu().numpy(), resize(answer[None, None], size)[0, 0].cpu().numpy())

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
        with running(self.device, self.dtype):
            embeddings = self.model.pixel_embeddings(seen_picture(pixels, self.cfg)[None]).float()
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
        vocabulary = self._question(words, synonyms=synonyms).wanted
        with torch.inference_mode():
            embeddings = self.model.text_features(vocabulary).embeddings.mean(dim=1)
        return torch.nn.functional.normalize(embeddings.float(), dim=-1).cpu().numpy()

    def unknown_words(self, vocabulary: Vocabulary) -> list[str]:
        """Lists the words that the model cannot know: neither its CLIP nor a later training here has seen them.

        Args:
            vocabulary: the words.

        Returns:
            The unknown ones; empty if the text encoder does not say.
        """
        return self._unknown.among(vocabulary)

    def _question(
        self,
        words: Words,
        background: Words = (),
        threshold: float | None = None,
        synonyms: str | None = None,
        absent: float | None = None,
    ) -> Question:
        question = Question.of(words, background, threshold, synonyms, self.synonyms)
        return question if absent is None else question.with_cut(cut_of(self, absent, len(question.asked)))

    def warn_of_unknown_words(self, vocabulary: Vocabulary) -> None:
        """Logs a warning of the words that the model cannot know, once for each.

        Args:
            vocabulary: the words.
        """
        self._unknown.warn(vocabulary)

    def _given(self, image: ImageLike | Look) -> tuple[np.ndarray, dict[str, Any]]:
        """Gives the picture, and what of it the model is asked with."""
        if isinstance(image, Look):
            return image.pixels, {"seen": image.seen_by(self)}
        pixels = read_image(image)
        return pixels, {"image": seen_picture(pixels, self.cfg)}

    def _answer(self, given: dict[str, Any], vocabulary: Vocabulary, height: int, width: int) -> Tensor:
        """Returns (T, h', w') float32 probabilities on the model's device, at most as large as the picture."""
        size = answer_size(self.cfg, height, width, len(vocabulary), self.device)
        self.warn_of_unknown_words(vocabulary)
        return ask(self.model, self.dtype, [given], vocabulary, [size], "sem_seg")[0]["sem_seg"]

    def _results(self, question: Question, pictures: Sequence[tuple[np.ndarray, dict[str, Any]]]) -> list[Result]:
        """Answers what `_given` has given, of several pictures at once."""
        sizes, given = [pixels.shape[:2] for pixels, _ in pictures], [given for _, given in pictures]
        found = ask(self.model, self.dtype, given, question.asked, sizes, "cosine" if question.cut else "labels")
        about = {"templates": self.cfg.MODEL.VOCABULARY.TEMPLATES, "model": self.name, "weights": self.weights,
                 "precision": self.dtype, "notice": self.notice}  # fmt: skip
        return [
            question.result(pixels, answer["labels"].int(), answer["scores"], answer.get("cosine"), **about)
            for (pixels, _), answer in zip(pictures, found, strict=True)
        ]
