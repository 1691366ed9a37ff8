"""The words a model is asked for: channels, synonyms, class names. Standard library only."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from openvocab.vocab.class_lists import check_word, lines_of
from openvocab.vocab.cleaning import clean, comparable
from openvocab.vocab.embedded import read_header

SYNONYM_RULES = ("mean", "first")
BUILTIN_WORDS = ("prompts", "readable", "lseg_labels")


@dataclass(frozen=True)
class Vocabulary:
    """Words with synonyms, one channel each; hashable.

    Attributes:
        entries: per channel its synonyms; the first is the main word. Those of users are clean
            (`openvocab.vocab.cleaning`), those of benchmarks as published; the text encoder cleans both.
        names: of the output classes, for legends.
        channel_to_class: class of each channel after the argmax, or None where channel i is class i. This is not the
            same as synonyms: PAS-20b asks 59 words, each with its own channel, and 39 of them mean "background".
        synonyms: "mean" of the synonyms' embeddings, or "first" word only (the rule of CAT-Seg's benchmarks). None:
            whoever asks decides; a `Segmenter` takes the rule that its model was trained under, else the mean.

    Raises:
        ValueError: no entries, an empty entry, or `names`, `channel_to_class` or `synonyms` that do not fit.
    """

    entries: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    channel_to_class: tuple[int, ...] | None = None
    synonyms: str | None = None

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError("words: got an empty vocabulary, expected at least one word")
        for index, words in enumerate(self.entries):
            if not words or not all(map(clean, words)):
                raise ValueError(f"words: got a blank word in entry {index + 1}: {words!r}, expected text")
        if self.synonyms not in (None, *SYNONYM_RULES):
            raise ValueError(f"synonyms: got {self.synonyms!r}, expected one of {SYNONYM_RULES}")
        if self.channel_to_class is None:
            if len(self.names) != len(self.entries):
                raise ValueError(f"names: got {len(self.names)}, expected {len(self.entries)}, one per channel")
        elif len(self.channel_to_class) != len(self.entries):
            raise ValueError(
                f"channel_to_class: got length {len(self.channel_to_class)}, "
                f"expected {len(self.entries)}, one per channel"
            )
        elif not set(self.channel_to_class) <= set(range(len(self.names))):
            raise ValueError(
                f"channel_to_class: got values {sorted(set(self.channel_to_class))}, expected 0..{len(self.names) - 1}"
            )

    def __len__(self) -> int:
        """Number of channels T."""
        return len(self.entries)

    @classmethod
    def from_words(cls, words: Sequence[str], synonyms: str | None = None) -> "Vocabulary":
        """Makes a vocabulary of words given by a user.

        Args:
            words: one per channel; "sofa|couch" joins synonyms.
            synonyms: "mean", "first", or None where whoever asks decides.

        Returns:
            The vocabulary; `names` are the first words.

        Raises:
            ValueError: no words, one that is no text, a blank word, or a word twice (`cleaning.comparable` decides:
                CLIP reads lower case).

        Examples:
            >>> Vocabulary.from_words(["cat", "sofa|couch"]).names
            ('cat', 'sofa')
        """
        if isinstance(words, str):
            raise ValueError(f"words: got one string {words!r}, expected a list of words (or use Vocabulary.parse)")
        words = list(words)
        for number, word in enumerate(words, start=1):
            if not isinstance(word, str):
                raise ValueError(f"words: got {word!r} as entry {number}, expected text ('|' joins synonyms)")
        return cls._checked([word.split("|") for word in words], synonyms)

    @classmethod
    def parse(cls, text: str) -> "Vocabulary":
        """Reads words from one line, such as a command-line option.

        Args:
            text: words separated by commas, synonyms by "|". Words with commas need a file or a list.

        Returns:
            The vocabulary.

        Raises:
            ValueError: as `from_words`.

        Examples:
            >>> len(Vocabulary.parse("cat, sofa|couch"))
            2
        """
        return cls.from_words(text.split(",") if text.strip() else [])

    @classmethod
    def from_file(cls, path: str | Path, numbered: bool = False) -> "Vocabulary":
        """Reads words from a file.

        Args:
            path: .txt with one entry per line ("|" joins synonyms, commas belong to the word, "#" starts a comment
                line), or .json with a list of strings, or of lists of synonyms, UTF-8; or .safetensors, the words of
                `openvocab words`.
            numbered: whether the number of a line is a class of masks; then a comment or a blank line is an error.

        Returns:
            The vocabulary.

        Raises:
            ValueError: another suffix or content, or lines as annotation tools write them; also as `from_words`. The
                file is named, and the line.
            FileNotFoundError: there is no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path: there is no vocabulary file {path}")
        try:
            if path.suffix == ".safetensors":
                about = read_header(path)
                return cls._checked(about.entries, about.synonyms)
            text = path.read_text(encoding="utf-8-sig")
            if path.suffix == ".txt":
                return cls._checked([line.split("|") for line in lines_of(text, numbered)], None)
            if path.suffix == ".json":
                return cls._checked(_entries_of_json(json.loads(text)), None)
        except ValueError as error:  # also what json and the decoder raise
            raise ValueError(f"path: {path}: {error}") from error
        raise ValueError(f"path: got {path}, expected a .txt, .json or .safetensors file")

    @classmethod
    def builtin(cls, name: str, words: str = "prompts") -> "Vocabulary":
        """Loads a vocabulary of a benchmark.

        Args:
            name: such as "coco_stuff_171"; see `builtin_names`.
            words: "prompts", the strings that the published numbers were measured with ("airconditioner"), or
                "readable", the same classes as one would write them ("air conditioner"), with all their synonyms, or
                "lseg_labels", what LSeg's label file makes of ADE20K-150's ("pool table" becomes "pool").

        Returns:
            The vocabulary with the rule "first". Several classes may share a word (19 classes of ADE-847 do).

        Raises:
            ValueError: unknown name; lists what exists. Or unknown `words`.

        Examples:
            >>> len(Vocabulary.builtin("coco_stuff_171"))
            171
        """
        if words not in BUILTIN_WORDS:
            raise ValueError(f"words: got {words!r}, expected one of {BUILTIN_WORDS}")
        content = _read_builtin(name)
        entries = tuple((prompt,) if isinstance(prompt, str) else tuple(prompt) for prompt in content["prompts"])
        return cls(
            entries=_spelled(content, entries, words),
            names=tuple(content["names"]),
            channel_to_class=tuple(content["channel_to_class"]) if "channel_to_class" in content else None,
            synonyms="first",
        )

    def with_synonyms(self, rule: str) -> "Vocabulary":
        """Returns the same words under another synonym rule ("mean" or "first")."""
        return replace(self, synonyms=rule)

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """Returns per channel the words that reach the text encoder under the synonym rule."""
        if self.synonyms == "first":
            return tuple(words[:1] for words in self.entries)
        return self.entries

    @classmethod
    def _checked(cls, entries: Sequence[Sequence[str]], synonyms: str | None) -> "Vocabulary":
        for word in (word for words in entries for word in words):
            if any(letter == "\ufffd" or "\ud800" <= letter <= "\udfff" for letter in word):
                raise ValueError(
                    f"words: got {word!r}, whose bytes are no UTF-8 (of a file, save it as UTF-8; of a "
                    "command line, set LC_ALL=C.UTF-8)"
                )
        cleaned = tuple(tuple(map(clean, words)) for words in entries)
        seen: dict[str, str] = {}
        for word in filter(None, (word for words in cleaned for word in words)):
            if (same := comparable(word)) in seen:
                also = f" (as {seen[same]!r})" if seen[same] != word else ""
                raise ValueError(f"words: got {word!r} twice{also}, expected each word once")
            seen[same] = word
        return cls(entries=cleaned, names=tuple(words[0] for words in cleaned), synonyms=synonyms)


def as_vocabulary(value: Vocabulary | Sequence[str], synonyms: str = "mean") -> Vocabulary:
    """Accepts what callers pass for a vocabulary.

    Args:
        value: a vocabulary, or a sequence of words.
        synonyms: rule where the value brings none.

    Returns:
        A vocabulary with a rule.

    Raises:
        ValueError: as `Vocabulary.from_words`.
    """
    vocabulary = value if isinstance(value, Vocabulary) else Vocabulary.from_words(value)
    return vocabulary if vocabulary.synonyms else vocabulary.with_synonyms(synonyms)


def named_vocabulary(text: str, synonyms: str | None = None) -> Vocabulary:
    """Finds what MODEL.VOCABULARY.TRAIN or TEST stands for.

    Args:
        text: a built-in name, a .txt or .json file, whose lines are the classes of masks in their order, or words as
            `Vocabulary.parse` reads them: then there is a comma or "|" ("cat," is one word).
        synonyms: rule for names and files, "mean" or "first"; default: their own. Words that are written out are words
            of a call: the mean of their synonyms.

    Returns:
        The vocabulary.

    Raises:
        ValueError: none of these, with the nearest name; or as `Vocabulary.from_file` and `from_words`.
        FileNotFoundError: there is no such file.
    """
    if text.endswith((".txt", ".json")):
        vocabulary = Vocabulary.from_file(text, numbered=True)
    elif "," in text or "|" in text:
        return Vocabulary.parse(text.rstrip().removesuffix(",")).with_synonyms("mean")
    elif text in builtin_names():
        vocabulary = Vocabulary.builtin(text)
    else:
        near = difflib.get_close_matches(text, builtin_names(), n=1, cutoff=0)
        raise ValueError(
            f"words: got {text!r}, expected a built-in name (the nearest is {near[0]!r}), a .txt or .json "
            f"file, or words with a comma or '|' ({text + ','!r} is one word)"
        )
    return vocabulary.with_synonyms(synonyms) if synonyms else vocabulary


def builtin_names() -> list[str]:
    """Lists the built-in vocabularies."""
    files = resources.files("openvocab.vocab").joinpath("data").iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def builtin_dataset_ids(name: str) -> tuple[int, ...]:
    """Returns, per class of a built-in vocabulary, the value that the dataset's raw annotations hold.

    Args:
        name: see `builtin_names`.

    Returns:
        One value per class.

    Raises:
        ValueError: unknown name, or the dataset has no such values.
    """
    return _builtin_integers(name, "dataset_ids")


def builtin_category_ids(name: str) -> tuple[int, ...]:
    """Returns, per class, the category id in the dataset's annotation file (COCO's instances).

    Args:
        name: see `builtin_names`.

    Returns:
        One id per class.

    Raises:
        ValueError: unknown name, or the dataset has no such ids.
    """
    return _builtin_integers(name, "category_ids")


def builtin_absent(name: str) -> tuple[int, ...]:
    """Returns the classes of a built-in vocabulary that no validation image of its dataset shows.

    Args:
        name: see `builtin_names`.

    Returns:
        Class indices in ascending order; empty where every class occurs.

    Raises:
        ValueError: unknown name.
    """
    return tuple(_read_builtin(name).get("absent_in_val", ()))


def builtin_colors(name: str) -> tuple[tuple[int, int, int], ...]:
    """Returns a colour per class of a built-in vocabulary, all different.

    Args:
        name: see `builtin_names`.

    Returns:
        (red, green, blue) in 0..255 for each of the vocabulary's `names`.

    Raises:
        ValueError: unknown name.
    """
    return tuple(tuple(bytes.fromhex(color)) for color in _read_builtin(name)["colors"])


def _builtin_integers(name: str, key: str) -> tuple[int, ...]:
    content = _read_builtin(name)
    if key not in content:
        raise ValueError(f"name: got {name!r}, which has no {key}")
    return tuple(content[key])


def _spelled(content: dict, prompts: tuple[tuple[str, ...], ...], words: str) -> tuple[tuple[str, ...], ...]:
    if words == "readable":
        return _readable(content, prompts)
    if words == "lseg_labels":
        own = content.get("lseg_labels", {})
        return tuple(tuple(own.get(word, word) for word in entry) for entry in prompts)
    return prompts


def _readable(content: dict, prompts: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    spelled = content.get("readable", {})
    # Where several channels mean one class, the class name says nothing about a channel, so its prompt is spelled out.
    folded = "channel_to_class" in content
    source = prompts if folded else [name.split(", ") for name in content["names"]]
    return tuple(tuple(spelled.get(word, word) for word in words) for words in source)


def _read_builtin(name: str) -> dict:
    if name not in builtin_names():
        raise ValueError(f"name: got {name!r}, expected one of {builtin_names()}")
    return json.loads(resources.files("openvocab.vocab").joinpath("data", f"{name}.json").read_text(encoding="utf-8"))


def _entries_of_json(content: object) -> list[list[str]]:
    if not isinstance(content, list):
        raise ValueError(f"got {type(content).__name__}, expected a list of strings or of lists of synonyms")
    entries = [entry.split("|") if isinstance(entry, str) else entry for entry in content]
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, list) or not all(isinstance(word, str) for word in entry):
            raise ValueError(f"got the entry {entry!r}, expected a string or a list of synonyms")
        for word in entry:
            check_word(word.strip(), f"entry {number}")
    return entries
