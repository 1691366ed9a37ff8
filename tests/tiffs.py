"""TIFF files made by hand: what Pillow cannot write."""

import struct

SHORT, LONG, ASCII, UNDEFINED = 3, 4, 2, 7
_SIZES = {SHORT: 2, LONG: 4, ASCII: 1, UNDEFINED: 1}


def tiff(width: int, height: int, samples: bytes, entries: dict[int, tuple[int, object]], endian: str = "<") -> bytes:
    """Builds an uncompressed TIFF of one strip.

    Args:
        width: pixels.
        height: pixels.
        samples: of the strip.
        entries: tag -> (type, value or sequence of values or bytes), beside size, strip and compression.
        endian: "<" or ">".
    """
    entries = {256: (LONG, width), 257: (LONG, height), 259: (SHORT, 1), 278: (LONG, height),
               279: (LONG, len(samples)), **entries}  # fmt: skip
    head = 8 + 2 + 12 * (len(entries) + 1) + 4
    entries[273] = (LONG, 0)
    behind, rows = b"", []
    for tag, (kind, value) in sorted(entries.items()):
        if isinstance(value, bytes):
            count, data = len(value), value
        else:
            values = value if isinstance(value, tuple) else (value,)
            count, data = len(values), struct.pack(endian + {SHORT: "H", LONG: "I"}[kind] * len(values), *values)
        if len(data) > 4:
            data, behind = struct.pack(endian + "I", head + len(behind)), behind + data
        rows.append((tag, kind, count, data.ljust(4, b"\0")))
    start = struct.pack(endian + "I", head + len(behind))
    directory = b"".join(struct.pack(endian + "HHI", tag, kind, count) + (start if tag == 273 else data)
                         for tag, kind, count, data in rows)  # fmt: skip
    mark = b"II*\0" if endian == "<" else b"MM\0*"
    return mark + struct.pack(endian + "IH", 8, len(rows)) + directory + bytes(4) + behind + samples
