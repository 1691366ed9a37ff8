"""The common case of a preparation: an index image whose values are mapped to labels."""

from openvocab.data.preparation.labels import LabelTable, check_image
from openvocab.data.preparation.runner import Item, Prepared
from openvocab.data.reading import read_indices


def read_indexed(table: LabelTable, item: Item) -> Prepared:
    """Reads an index image and maps its values.

    Args:
        table: from raw values to labels.
        item: `source` is an index image (grey or palette).

    Returns:
        The labels.

    Raises:
        ValueError: a file is missing; colours, unknown values, or another size than the image.
    """
    labels = table(read_indices(item.source), item.source)
    check_image(labels, item.source, item.image)
    return Prepared(labels)
