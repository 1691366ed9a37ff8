"""A released checkpoint with one key too many or too few is refused."""

import pytest

from catseg.checkpoint import from_released

P = "sem_seg_head.predictor."


def test_masks_are_ignored_and_the_rest_renamed():
    got = from_released({
        P + "transformer.layers.1.swin_block.block_2.attn_mask": 1,
        P + "clip_model.token_embedding.weight": 2,
        P + "transformer.layers.1.attention.attention.q.weight": 3,
        "upsample2.bias": 4,
    })  # fmt: skip
    assert got == {
        "clip.text.token_embedding.weight": 2,
        "sem_seg_head.layers.1.classes.attention.q.weight": 3,
        "sem_seg_head.decoder.tap_upsample.1.bias": 4,
    }


@pytest.mark.parametrize(
    "name", ["transformer.layers.0.swin_block.block_3.norm1.weight", "clip_model.prompt", "transformer.conv2.weight"]
)
def test_unknown_keys_are_refused(name):
    with pytest.raises(ValueError, match="a released CAT-Seg checkpoint does not have"):
        from_released({P + name: 1})


def test_our_own_pass():
    assert from_released({"clip.logit_scale": 1, "sem_seg_head.anything": 2}) == {
        "clip.logit_scale": 1, "sem_seg_head.anything": 2}  # fmt: skip
