"""What a file of word embeddings says of itself (.safetensors): which words, and whose CLIP they belong to.

The embeddings are read and written by `openvocab.clip.words_file`.
"""

import json
from pathlib import Path
from typing import NamedTuple

MARK = "openvocab-seg: word embeddings"  # who wrote it
METADATA_KEY = "openvocab"  # one key, since the library writes several in no order
_MAX_HEADER = 100_000_000  # bytes, as the library has it


class EmbeddedWords(NamedTuple):
    """What stands in the header.

    Attributes:
        entries: the synonyms of each of T words.
        synonyms: rule by which they were put together, "mean" or "first".
        templates: P prompt templates.
        clip: name of the CLIP, for people.
        text_tower: digest of its parameters (`openvocab.versions.digest_of_parameters`).
    """

    entries: list[list[str]]
    synonyms: str
    templates: list[str]
    clip: str
    text_tower: str


def read_header(path: Path) -> EmbeddedWords:
    """Reads what a file of word embeddings says of itself, and none of the embeddings.

    Args:
        path: ends in .safetensors.

    Raises:
        ValueError: it is none that `openvocab words` wrote.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, _MAX_HEADER))
    try:
        about = json.loads(json.loads(header)["__metadata__"][METADATA_KEY])
        return EmbeddedWords(*(about[field] for field in EmbeddedWords._fields))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("expected word embeddings that `openvocab words` wrote, got another file") from error
