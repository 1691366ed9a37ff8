"""The loss against the textbook formula with one-hot targets."""

import math

import pytest
import torch
import torch.nn.functional as F

from catseg.losses import constant_loss, kept_loss, loss_count, segmentation_loss

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
def test_the_best_constant_answer(rule):
    """Given as logits, the frequencies lose exactly that, and less than any other constant."""
    labels = [torch.tensor([[0, 0, 0, 1], [2, 0, IGNORE, IGNORE]])]
    shares, ignored = torch.tensor([4, 1, 1]) / 6, 2 / 8
    best = constant_loss(shares, ignored, torch.ones(3), rule)
    counted = 6 if rule == "masked" else 8
    logits = (torch.tensor([4, 1, 1], dtype=torch.float64) / counted).logit().view(1, 3, 1, 1).expand(1, 3, 2, 4)
    assert abs(float(segmentation_loss(logits, labels, IGNORE, rule)) - best) < 1e-6  # shares are float32
    for step in torch.randn(20, 1, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64):
        assert float(segmentation_loss(logits + 0.3 * step, labels, IGNORE, rule)) > best


def test_the_best_constant_answer_where_words_are_sampled():
    """A class that is named in half of the batches fills twice the share there, and no other batch asks for it."""
    half = constant_loss(torch.tensor([0.75, 0.25]), 0.0, torch.tensor([1.0, 0.5]), "masked")
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.75, 0.5)]
    assert half == pytest.approx((entropies[0] + 0.5 * entropies[1]) / 1.5, rel=1e-6)
    assert constant_loss(torch.tensor([1.0, 0.0]), 0.0, torch.ones(2), "masked") == 0


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


def test_how_far_words_have_moved_by_hand():
    before = torch.tensor([0.5, 0.2, 0.0, 1.0], dtype=torch.float64).view(1, 4, 1, 1)
    logits = torch.tensor([0.25, 0.2, 0.5, 0.75], dtype=torch.float64).logit().view(1, 4, 1, 1)
    by_hand = [0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75), 0.0, math.log(1 / 0.5), math.log(1 / 0.75)]
    assert float(kept_loss(logits, before)) == pytest.approx(sum(by_hand) / 4, abs=1e-12)
