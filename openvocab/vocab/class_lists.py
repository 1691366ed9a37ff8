"""Lines of word files that are no words: what annotation tools export, and what shifts the classes behind it."""

import re
from collections.abc import Iterator, Sequence

# Taken as words, these would become prompts, and masks would be compared with the wrong classes.
FOREIGN = (
    (r"__\w+__|_background_", "a mark of labelme's labels.txt, whose first lines are no classes"),
    (r"#\s*label:color_rgb\b.*", "the head of CVAT's labelmap.txt"),
    (r"[^:]*:\s*\d+\s*,\s*\d+\s*,\s*\d+\s*:.*", "a line of CVAT's labelmap.txt (name:r,g,b:parts:actions)"),
    (r"-?\d+\s*[:=,;\t]\s*\S.*", "a number before the word"),
)

# Alone, these are words ("3 wheeler", "route 66"); with numbers that count up, lines of a list.
COUNTED = (r"(\d+)[\s.)\]]+\S.*", r".*\S\s*[,;:=\t]\s*(\d+)")


def check_word(text: str, where: str) -> None:
    """Refuses what an annotation tool writes around words.

    Args:
        text: a line or an entry, without surrounding blanks.
        where: it stands, such as "line 3".

    Raises:
        ValueError: names the place, the text and the tool.
    """
    for pattern, what in FOREIGN:
        if re.fullmatch(pattern, text):
            raise ValueError(f"{where}: got {text!r}, {what}; expected the word alone")


def lines_of(text: str, numbered: bool) -> Iterator[str]:
    """Goes through the entries of a .txt file.

    Args:
        text: of the file.
        numbered: whether the number of a line is a class, from 0 on. Then a line without a word, which would shift all
            classes behind it, is an error; blank lines at the end shift nothing.

    Yields:
        Lines without surrounding blanks; without `numbered`, blank lines and comments ("#") are left out.

    Raises:
        ValueError: names the line.
    """
    lines = text.rstrip().splitlines()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            if numbered:
                check_word(line, f"line {number}")
                what = f"the comment {line!r}" if line else "a blank line"
                raise ValueError(
                    f"line {number}: got {what}, expected the word of class {number - 1}: the number of a "
                    "line is its class here, and all behind would be shifted"
                )
            continue
        check_word(line, f"line {number}")
        yield line
    _refuse_counting(lines)


def _refuse_counting(lines: Sequence[str]) -> None:
    for pattern in COUNTED:
        found = [re.fullmatch(pattern, line.strip()) for line in lines if line.strip()]
        numbers = [int(match[1]) for match in found if match]
        if len(found) == len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            raise ValueError(f"every line has a number that counts up ({lines[0].strip()!r}...); expected words")
