"""MODEL.CLIP.RANK: nothing changes at first, the sum is what counts, and a state dict holds nothing else."""

import pytest
import torch
from torch import nn

from openvocab.checkpoint.load import Unfilled
from openvocab.clip.build import build_clip
from openvocab.clip.finetune import set_trainable
from openvocab.clip.low_rank import LowRank, LowRankState

NAME = "emojiscapes-vit-s8"


def clip_of(rank, seed=0):
    torch.manual_seed(seed)
    clip = build_clip(NAME)
    set_trainable(clip, "attention", rank)
    return clip


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def answers(clip, image):
    tokens = clip.text.encode_tokens(clip.text.tokenize(["a photo of a cat"]))
    return clip.visual(image).dense, tokens


def moved(clip, seed=2):
    """Low-rank matrices as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in clip.named_parameters():
        if name.endswith(".up"):
            parameter.data.normal_(std=0.05, generator=generator)
    return clip


def test_nothing_changes_at_first(image):
    plain, low = clip_of(0), clip_of(4)
    low.load_state_dict(plain.state_dict())
    for one, other in zip(answers(plain, image), answers(low, image), strict=True):
        assert torch.equal(one, other)
    assert low.state_dict().keys() == plain.state_dict().keys()


def test_a_plain_model_takes_the_sum(image):
    low, plain = moved(clip_of(4)), clip_of(0, seed=5)
    weight = low.visual.transformer.resblocks[0].attn.parametrizations.q_proj_weight
    sum_ = weight.original + weight[0].up @ weight[0].down
    state = low.state_dict()
    torch.testing.assert_close(state["visual.transformer.resblocks.0.attn.q_proj_weight"], sum_)
    assert not torch.equal(sum_, weight.original)
    plain.load_state_dict(state)
    for one, other in zip(answers(plain, image), answers(low, image), strict=True):
        assert torch.equal(one, other)


def test_the_matrices_alone_are_trained(image):
    low, plain = clip_of(4), clip_of(0)
    trained = {name for name, p in low.named_parameters() if p.requires_grad}
    weights = {name for name, p in plain.named_parameters() if p.requires_grad}
    expected = {f"{name.rpartition('.')[0]}.parametrizations.{name.rpartition('.')[2]}.0.{part}"
                for name in weights for part in ("down", "up")}  # fmt: skip
    assert trained == expected
    sum(answer.square().sum() for answer in answers(low, image)).backward()
    assert {name for name, p in low.named_parameters() if p.grad is not None} == expected


def test_gradients_are_those_of_the_sum(image):
    low, plain = moved(clip_of(3)), clip_of(0)
    plain.load_state_dict(low.state_dict())
    for clip in (low, plain):
        answers(clip, image)[0].square().mean().backward()
    for block in (0, 1):
        found = low.visual.transformer.resblocks[block].attn.parametrizations.v_proj_weight[0]
        whole = plain.visual.transformer.resblocks[block].attn.v_proj_weight.grad
        torch.testing.assert_close(found.up.grad, whole @ found.down.T)
        torch.testing.assert_close(found.down.grad, found.up.T @ whole)


def test_loading_starts_from_zero():
    low, other = moved(clip_of(4)), clip_of(0, seed=7)
    low.load_state_dict(other.state_dict())
    assert all(not p.any() for name, p in low.named_parameters() if name.endswith(".up"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in low.state_dict().items())


def test_what_goes_on_is_the_parts():
    """The sum alone would give another split, and another next step."""
    one, two = moved(clip_of(4)), clip_of(4, seed=9)
    two.load_state_dict(one.state_dict())
    LowRankState(two).load_state_dict(LowRankState(one).state_dict())
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    assert bool(LowRankState(one)) and not LowRankState(clip_of(0))


def test_a_model_that_is_loaded_next_is_built_without_random_numbers(image):
    with Unfilled():
        low = build_clip(NAME)
        set_trainable(low, "attention", 4)
    plain = clip_of(0)
    low.load_state_dict(plain.state_dict())
    assert torch.equal(answers(low, image)[0], answers(plain, image)[0])


@pytest.mark.parametrize(
    ("rank", "mode", "message"),
    [
        (4, "full", "RANK: got 4 with MODEL.CLIP.FINETUNE 'full', expected 0, or 'attention'"),
        (4, "none", "RANK: got 4 with MODEL.CLIP.FINETUNE 'none'"),
        (256, "attention", r"RANK: got 256, expected 1..\d+ for weights of shape"),
    ],
)
def test_what_does_not_fit(rank, mode, message):
    with pytest.raises(ValueError, match=message):
        set_trainable(build_clip(NAME), mode, rank)


def test_precision_of_the_weight_stays():
    weight = nn.Parameter(torch.zeros(6, 5, dtype=torch.bfloat16))
    added = LowRank(weight, 2)
    added.up.data.fill_(1.0)
    assert added(weight).dtype == torch.bfloat16 and added(weight).any()
