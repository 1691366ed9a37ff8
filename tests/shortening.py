"""Models of a few blocks, for what does not depend on how many there are."""

from openvocab.model import OpenVocabularyModel


def shortened(model: OpenVocabularyModel) -> OpenVocabularyModel:
    """Without blocks that do to their input what those before them do: tapped ones stay, and CAT-Seg's dense last.

    For taps 0 and 1 of CAT-Seg, 0 to 3 of LSeg.
    """
    del model.text_encoder.transformer.resblocks[1:]
    if hasattr(model, "clip"):
        del model.clip.visual.transformer.resblocks[2:-1]
    else:
        del model.backbone.vit.blocks[4:]
    return model
