"""Words that are encoded once and for all: for models that were exported, and for later calls."""

import os
from pathlib import Path

from openvocab.clip.words_file import read_embeddings, write_embeddings
from openvocab.inference.segmenter import Segmenter, Words
from openvocab.vocab.background import combine
from openvocab.vocab.vocabulary import Vocabulary


def embeddings_file(segmenter: Segmenter, words: Words) -> bytes:
    """Encodes words in the segmenter's templates.

    Args:
        segmenter: whose exported twin, or who itself, is to be asked.
        words: as in its call.

    Returns:
        The content of a .safetensors file: "embeddings" (T, P, C) float32, and to which CLIP they belong.

    Raises:
        ValueError: no word, a blank word, or a word twice.
    """
    vocabulary, _ = combine(words, (), segmenter.synonyms)
    segmenter.warn_of_unknown_words(vocabulary)
    return write_embeddings(vocabulary, segmenter.model.vocabulary.templates, segmenter.model.text_encoder)


def use_embeddings(segmenter: Segmenter, path: str | os.PathLike) -> Vocabulary:
    """Reads words that a segmenter need not encode any more, as long as it is asked for them alone and in float32.

    Args:
        segmenter: of the model that they were encoded by.
        path: of a file with the content of `embeddings_file`, as `openvocab words` writes it.

    Returns:
        The words, under the rule for synonyms that they were encoded by.

    Raises:
        ValueError: another file, or embeddings of another CLIP or of other templates.
        OSError: it cannot be read.
    """
    about, embeddings = read_embeddings(Path(path), segmenter.model.text_encoder)
    templates = segmenter.model.vocabulary.templates
    if tuple(about.templates) != tuple(templates):
        raise ValueError(
            f"words: {path} was written for {len(about.templates)} templates ({about.templates[0]!r}, "
            f"...), expected the {len(templates)} of this model ({templates[0]!r}, ...)"
        )
    vocabulary = Vocabulary.from_file(path)
    segmenter.model.text_encoder.remember(vocabulary, templates, embeddings)
    return vocabulary
