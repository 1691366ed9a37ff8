"""Which formats are pictures here: those that Pillow decodes by itself, and the suffixes of their files."""

from PIL import Image, ImageFile

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
"""What files of these formats begin with."""

# EPS starts Ghostscript, which runs programs that a file holds; of MPEG, Pillow knows the size alone.
_NOT_DECODED = ("EPS", "MPEG")


def picture_formats() -> tuple[str, ...]:
    """Lists the formats that Pillow decodes without another program, those of plugins that are registered as well.

    Returns:
        Pillow's names, as `PIL.Image.open(formats=...)` takes them.
    """
    Image.init()
    return tuple(name for name, (opener, _) in Image.OPEN.items() if name not in _NOT_DECODED and not _is_stub(opener))


def picture_suffixes() -> frozenset[str]:
    """Lists the suffixes of files in these formats: lower case, with the dot."""
    formats = picture_formats()
    # ".mpo", of stereo cameras: JPEG with more pictures behind it. Pillow registers it for writing alone.
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats) | {".mpo"}


def _is_stub(opener: object) -> bool:
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
