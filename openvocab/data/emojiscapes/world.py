"""The words of EmojiScapes: which nouns, which stuff, which are novel, and where their drawings come from.

EmojiScapes is a toy world of emoji drawings on procedural textures. It stands in for photographs where nothing can be
downloaded but packages; numbers measured on it say nothing about photographs.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TRAIN_STYLES = ("openmoji", "noto", "fluent-emoji-flat", "emojione", "noto-v1")
HELD_OUT_STYLE = "twemoji"


@dataclass(frozen=True)
class World:
    """A closed set of words with drawings.

    Attributes:
        name: "mini".
        nouns: words with drawings; class id = position.
        stuff: words with textures; class id = len(nouns) + position.
        codepoints: per noun the hexadecimal code points of its drawings.
        synonyms: per noun other words for it, may be empty.
        novel: class ids that never occur in training scenes.
    """

    name: str
    nouns: tuple[str, ...]
    stuff: tuple[str, ...]
    codepoints: tuple[tuple[str, ...], ...]
    synonyms: tuple[tuple[str, ...], ...]
    novel: frozenset[int]

    @property
    def classes(self) -> tuple[str, ...]:
        """All words, nouns first; position = class id."""
        return self.nouns + self.stuff

    @property
    def base_nouns(self) -> tuple[int, ...]:
        """Class ids of the nouns that training scenes show."""
        return tuple(i for i in range(len(self.nouns)) if i not in self.novel)


@cache
def world(name: str = "mini") -> World:
    """Reads a world from its data file.

    Raises:
        ValueError: there is no such world.
    """
    path = Path(__file__).with_name(f"{name}.json")
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.json"))
        raise ValueError(f"world: got {name!r}, expected one of {known}")
    data = json.loads(path.read_text(encoding="utf-8"))
    words = [entry["words"] for entry in data["nouns"]]
    return World(
        name=name,
        nouns=tuple(w[0] for w in words),
        stuff=tuple(data["stuff"]),
        codepoints=tuple(tuple(entry["codepoints"]) for entry in data["nouns"]),
        synonyms=tuple(tuple(w[1:]) for w in words),
        novel=frozenset(i for i, entry in enumerate(data["nouns"]) if entry.get("novel", False)),
    )
