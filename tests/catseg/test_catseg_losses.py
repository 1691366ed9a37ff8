"""The loss against the textbook formula with one-hot targets."""

import pytest
import torch
import torch.nn.functional as F

from catseg.losses import loss_count, segmentation_loss

IGNORE = 255


def plain_loss(logits, labels, masked):
    """Binary cross-entropy against one-hot targets; an ignored pixel's target is all zero."""
    total, count = 0.0, 0
    for maps, label in zip(logits, labels):
        maps = F.interpolate(maps[None], size=label.shape, mode="bilinear", align_corners=False)[0]
        target = torch.stack([(label == index).to(maps.dtype) for index in range(len(maps))])
        values = F.binary_cross_entropy_with_logits(maps, target, reduction="none")
        if masked:
            values = values[:, label != IGNORE]
        total, count = total + values.sum(), count + values.numel()
    return total / count


@pytest.mark.parametrize("rule", ["negative", "masked"])
@pytest.mark.parametrize("sizes", [[(16, 16), (16, 16)], [(9, 20), (31, 5)]])
def test_equals_the_textbook(rule, sizes):
    torch.manual_seed(0)
    logits = 5 * torch.randn(2, 3, 8, 8, dtype=torch.float64)
    logits.requires_grad_()
    labels = [torch.randint(0, 3, size) for size in sizes]
    labels[0][:4] = IGNORE
    got, want = segmentation_loss(logits, labels, IGNORE, rule), plain_loss(logits, labels, rule == "masked")
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (got, want)))


def test_by_hand():
    """One pixel, two classes, logits 0 and ln 3: -(ln 1/2 + ln 3/4) / 2 for class 1, -(ln 1/2 + ln 1/4) / 2 ignored."""
    logits = torch.tensor([0.0, 3.0]).clamp(min=1).log().view(1, 2, 1, 1)
    known, ignored = torch.ones(1, 1, dtype=torch.long), torch.full((1, 1), IGNORE)
    third = torch.tensor([0.5, 0.75]).log()
    torch.testing.assert_close(segmentation_loss(logits, [known], IGNORE, "negative"), -third.mean())
    fourth = torch.tensor([0.5, 0.25]).log()
    torch.testing.assert_close(segmentation_loss(logits, [ignored], IGNORE, "negative"), -fourth.mean())


def test_large_logits_stay_exact():
    logits = torch.tensor([[200.0, -200.0]]).view(1, 2, 1, 1)
    label = torch.ones(1, 1, dtype=torch.long)
    assert segmentation_loss(logits, [label], IGNORE, "negative") == 200


def test_nothing_but_ignored_pixels():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, [torch.full((4, 4), IGNORE)], IGNORE, "masked")
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("value", [3, -1, 254])
def test_labels_without_a_word(value):
    label = torch.zeros(4, 4, dtype=torch.long)
    label[1, 1] = value
    with pytest.raises(ValueError, match=rf"got labels \[{value}\], expected 0..2 \(T = 3 words\)"):
        segmentation_loss(torch.zeros(1, 3, 2, 2), [label], IGNORE, "negative")


def test_unknown_rule():
    with pytest.raises(ValueError, match="'drop', expected one of"):
        segmentation_loss(torch.zeros(1, 3, 2, 2), [torch.zeros(4, 4, dtype=torch.long)], IGNORE, "drop")


@pytest.mark.parametrize("rule", ["negative", "masked"])
def test_what_the_mean_goes_over(rule):
    """With it as weight, the losses of the parts add up to that of the whole; nothing counts for nothing."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 8, 8, generator=generator, dtype=torch.float64)
    labels = [torch.randint(0, 4, (8, 8), generator=generator) for _ in range(3)]
    labels[0][:6], labels[1][:1], labels[2][:] = IGNORE, IGNORE, IGNORE
    counts = [loss_count([label], [4], IGNORE, rule) for label in labels]
    assert counts == ([4 * 16, 4 * 56, 0] if rule == "masked" else [4 * 64] * 3)
    assert loss_count(labels, [4, 4, 4], IGNORE, rule) == sum(counts)
    parts = [segmentation_loss(logits[[i]], [labels[i]], IGNORE, rule) * counts[i] for i in range(3)]
    torch.testing.assert_close(sum(parts) / sum(counts), segmentation_loss(logits, labels, IGNORE, rule))
