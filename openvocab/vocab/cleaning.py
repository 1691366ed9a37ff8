"""What becomes of a word before it is compared and before it is encoded: the one rule for both.

CLIP's tokenizer repairs a text (ftfy), resolves HTML entities, joins white space and reads lower case. Two words that
are the same to it are the same word here; a word that it sees nothing of is blank. What a reader cannot see either,
characters of Unicode's category Cf such as zero-width spaces, byte order marks and soft hyphens, is dropped first: the
tokenizer would make tokens of them.
"""

import html
import unicodedata
from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def clean(word: str) -> str:
    """Gives a word as it is shown and encoded.

    Args:
        word: any text.

    Returns:
        The word without invisible characters, repaired, with single blanks between its parts; capitals stay, for
        legends. "" where nothing is left.
    """
    word = "".join(letter for letter in word if unicodedata.category(letter) != "Cf")
    if not (word.isascii() and word.isprintable() and "&" not in word):  # on others, the repair changes nothing
        import ftfy

        word = html.unescape(html.unescape(ftfy.fix_text(word)))
        word = "".join(letter for letter in word if unicodedata.category(letter) != "Cf")  # from entities: "&shy;"
    return " ".join(word.split())


def comparable(word: str) -> str:
    r"""Gives what two words have in common that mean the same to a reader and to CLIP.

    Args:
        word: any text.

    Returns:
        The clean word in lower case and in Unicode's compatibility form (NFKC): "Ｃafe\u0301" is "café".
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", clean(word)).lower())
