"""Word embeddings that travel: a .safetensors file that knows whose they are.

Embeddings of one text tower mean nothing to another, also where both are called "ViT-B-16": CAT-Seg trains its own.

Shape letters: T words, P prompt templates, C joint CLIP width.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from openvocab.clip.text_encoder import TextEncoder
from openvocab.versions import digest_of_parameters
from openvocab.vocab.embedded import MARK, METADATA_KEY, EmbeddedWords, read_header
from openvocab.vocab.vocabulary import Vocabulary

TENSOR = "embeddings"


def write_embeddings(vocabulary: Vocabulary, templates: Sequence[str], encoder: TextEncoder) -> bytes:
    """Encodes words for a file.

    Args:
        vocabulary: T words.
        templates: P prompt templates.
        encoder: of the model that is to be asked.

    Returns:
        A .safetensors file with one tensor, "embeddings" (T, P, C) float32, L2-normalised along C.
    """
    with torch.inference_mode():
        values = encoder(vocabulary, templates).embeddings.float().cpu().numpy()
    about = EmbeddedWords(
        [list(entry) for entry in vocabulary.entries],
        vocabulary.synonyms or "mean",
        list(templates),
        encoder.spec.name,
        digest_of_parameters(encoder),
    )
    text = json.dumps({"written_by": MARK, **about._asdict()}, ensure_ascii=False)
    return save({TENSOR: values}, {METADATA_KEY: text})


def read_embeddings(path: Path, encoder: TextEncoder) -> tuple[EmbeddedWords, Tensor]:
    """Reads word embeddings for a text tower.

    Args:
        path: that `openvocab words` wrote.
        encoder: of the model that is to be asked.

    Returns:
        What the file says of itself, and (T, P, C) float32 on the CPU.

    Raises:
        ValueError: another file, a damaged one, or embeddings of another CLIP.
        OSError: it cannot be read.
    """
    try:
        about = read_header(path)
        values = torch.from_numpy(load(path.read_bytes())[TENSOR])
    except (ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"words: {path}: {error}") from error
    wanted = (len(about.entries), len(about.templates), encoder.spec.embed_dim)
    own = digest_of_parameters(encoder)
    if about.text_tower != own:
        raise ValueError(
            f"words: {path} holds embeddings of another CLIP's text tower ({about.clip}, "
            f"{about.text_tower[:12]}), expected those of this model ({encoder.spec.name}, {own[:12]}): "
            "write them anew with `openvocab words --model`"
        )
    if tuple(values.shape) != wanted:
        raise ValueError(f"words: {path} holds embeddings {tuple(values.shape)}, expected {wanted}")
    return about, values
