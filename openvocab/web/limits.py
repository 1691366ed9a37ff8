"""What one server takes upon itself, so that no question can take the others' share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        upload_bytes: of an uploaded file.
        disk_bytes: of all uploads that lie in the temporary folder; more are refused until older ones are deleted.
        pixels: of a picture.
        words: that are asked for at once, synonyms and words for "none of these" included.
        letters: of one word.
        text: letters of all words together.
        seconds: that a question may wait for the model and be answered in, but for the time that loading takes.
        waiting: questions that wait; more are refused.
        kept_bytes: of what was seen and answered; the oldest goes first, and is computed again where it is asked for.
    """

    upload_bytes: int = 32 << 20
    disk_bytes: int = 2 << 30
    pixels: int = 24_000_000
    words: int = 256
    letters: int = 120
    text: int = 20_000
    seconds: float = 120.0
    waiting: int = 16
    kept_bytes: int = 1 << 30
