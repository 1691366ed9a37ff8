"""What Detectron2's visualizer and evaluators want to know about words."""

from collections.abc import Sequence

from detectron2.data.catalog import Metadata

from openvocab.inference.legend import colours
from openvocab.vocab.vocabulary import Vocabulary, as_vocabulary, named_vocabulary


def vocabulary_metadata(words: str | Vocabulary | Sequence[str]) -> Metadata:
    """Describes a vocabulary as Detectron2 describes a dataset; nothing is put into its catalog.

    Args:
        words: what MODEL.VOCABULARY.TEST takes, a vocabulary, or a sequence of words.

    Returns:
        `stuff_classes`, the names of the classes, and `stuff_colors`, RGB in 0..255 and different for each.

    Raises:
        ValueError: as `named_vocabulary` and `Vocabulary.from_words`.

    Examples:
        >>> metadata = vocabulary_metadata("cat, sofa|couch")
        >>> Visualizer(image, metadata).draw_sem_seg(answer["sem_seg"].argmax(dim=0))
    """
    vocabulary = named_vocabulary(words) if isinstance(words, str) else as_vocabulary(words)
    return Metadata(
        name="words", stuff_classes=list(vocabulary.names), stuff_colors=colours(len(vocabulary.names)).tolist()
    )
