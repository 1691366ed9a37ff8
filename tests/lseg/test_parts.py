"""The parts of LSeg against hand-computed values, plain forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lseg.dpt_decoder import DPTDecoder, FusionBlock
from lseg.fast_stages import FastCorrelation
from lseg.image_encoder import Readout, Reassemble
from lseg.losses import constant_loss, segmentation_loss
from lseg.multi_scale import MultiScale, crop_origins, multi_scale_scores
from lseg.pixel_text import correlation, normalize_pixels
from lseg.spatial_regularization import SpatialRegularization
from openvocab.testing import directional_derivative_error


def test_readout_is_one_linear_layer_on_token_and_class_token():
    readout, tokens = Readout(6), torch.randn(2, 5, 6)
    joined = torch.cat([tokens[:, 1:], tokens[:, :1].expand(-1, 4, -1)], dim=2)
    torch.testing.assert_close(readout(tokens), F.gelu(readout.project(joined)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("scale", "side"), [(8, 16), (2, 4), (1, 2), (0.5, 1)])
def test_reassemble_scales_the_grid(scale, side):
    assert Reassemble(6, 3, scale)(torch.randn(1, 5, 6), (2, 2)).shape == (1, 3, side, side)


def test_fusion_projects_before_it_doubles_the_size():
    block, x = FusionBlock(4, deepest=True).eval(), torch.randn(1, 4, 3, 5)
    plain = block.project(F.interpolate(block.refine(x), scale_factor=2, mode="bilinear", align_corners=True))
    torch.testing.assert_close(block(x), plain, rtol=1e-5, atol=1e-6)


def test_decoder_gradient():
    torch.manual_seed(0)
    maps = [torch.randn(1, 3, 8 // 2**level, 8 // 2**level) for level in range(4)]

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = DPTDecoder([3] * 4, 4, 5)

        def forward(self, *maps):
            return self.decoder(maps)

    assert directional_derivative_error(Wrapped().eval(), maps) < 1e-5


def test_correlation_by_hand():
    pixels = normalize_pixels(torch.tensor([[[3.0]], [[4.0]]]))
    text = torch.tensor([[[1.0, 0.0]], [[0.0, -1.0]]])
    assert correlation(pixels, text).flatten().tolist() == pytest.approx([0.6 / 0.07, -0.8 / 0.07])


def test_templates_are_averaged_and_normalised():
    pixels = normalize_pixels(torch.tensor([[[1.0]], [[1.0]]]))
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert correlation(pixels, text).item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("features", "joint"), [(6, 16), (6, 7), (6, 6), (12, 8)])
@torch.no_grad()
def test_correlation_without_embeddings(dtype, features, joint):
    torch.manual_seed(0)
    head = nn.Conv2d(features, joint, 1)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    maps, text = torch.randn(features, 90, 91).to(dtype), F.normalize(torch.randn(5, 3, joint), dim=-1)
    want = correlation(normalize_pixels(head.double()(maps.double())), text.double())
    got = FastCorrelation(head.to(exact), dtype)(maps, text.to(exact))
    assert got.dtype == exact and got.shape == want.shape
    error = (got - want).abs() / want.abs().amax(dim=0)  # of a pixel, whose words are all divided by the same length
    assert float(error.max()) < {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]


@pytest.mark.parametrize(("kind", "extra"), [("depthwise", 0.0), ("bottleneck", 3.0)])
def test_regularization_by_hand(kind, extra):
    block = SpatialRegularization(kind, 2, "relu")
    block.filter.weight.data.zero_()
    block.filter.weight.data[0, 0, 1, 1] = 2.0
    block.filter.bias.data.fill_(-1.0)
    maps = torch.tensor([3.0, -1.0])[:, None, None]
    first = [max(0.0, 2 * v - 1 + extra) for v in (3.0, -1.0)]
    expected = [2 * v - 1 + (max(first) if extra else 0.0) for v in first]
    assert block(maps).flatten().tolist() == pytest.approx(expected)


def test_the_last_application_has_no_activation():
    block = SpatialRegularization("depthwise", 1, "relu")
    block.filter.bias.data.fill_(-100.0)
    assert (block(torch.randn(2, 4, 4)) < 0).all()


def test_crops_cover_the_axis():
    for side in (1, 480, 481, 800, 801, 910):
        origins = crop_origins(side, 480, 320)
        assert origins[0] == 0 and origins[-1] < side and origins[-1] + 480 >= side
        assert all(b - a <= 480 for a, b in zip(origins, origins[1:]))
    assert crop_origins(910, 480, 320) == [0, 320, 640]


def test_multi_scale_of_a_constant_is_its_multiple():
    sizes = MultiScale((0.5, 1.0, 1.75), 52, 48, 32, flip=True)
    scores = multi_scale_scores(lambda crop: torch.full((2, 48, 48), 3.0), torch.zeros(3, 40, 70), sizes)
    assert scores.shape == (2, 40, 70)
    torch.testing.assert_close(scores, torch.full_like(scores, 3 * 2 * 3.0))


def test_multi_scale_sees_the_sizes_of_the_protocol():
    seen = []

    def score(crop):
        seen.append(int((crop.sum(dim=0) > 0).any(dim=0).sum()))  # columns that are not padding
        return crop[:1]

    sizes = MultiScale((0.5,), 520, 480, 320, flip=False)
    scores = multi_scale_scores(score, torch.ones(3, 100, 200), sizes)
    assert seen == [math.ceil(520 * 0.5)]
    torch.testing.assert_close(scores, torch.ones(1, 100, 200))


def test_multi_scale_flips_back():
    sizes = MultiScale((1.0,), 48, 48, 32, flip=True)
    picture = torch.rand(3, 48, 48)
    scores = multi_scale_scores(lambda crop: crop[:1], picture, sizes)
    torch.testing.assert_close(scores, 2 * picture[:1])


def test_the_best_constant_answer():
    """Given as logits, the frequencies lose exactly that, and less than any other constant."""
    labels, shares = [torch.tensor([[0, 0, 0, 1], [2, 0, 255, 255]])], torch.tensor([4, 1, 1], dtype=torch.float64) / 6
    best, logits = constant_loss(shares, torch.ones(3)), shares.log().view(3, 1, 1).expand(3, 2, 4)
    assert float(segmentation_loss([logits], labels, 255)) == pytest.approx(best, rel=1e-12)
    for step in torch.randn(20, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64):
        assert float(segmentation_loss([logits + 0.3 * step], labels, 255)) > best


def test_the_best_constant_answer_where_words_are_sampled():
    """Two batches, one of which has words 0 and 1 and the other 0 and 2: either word is its half of the pixels."""
    shares, named = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1.0, 0.5, 0.5])
    assert constant_loss(shares, named) == pytest.approx(math.log(2), rel=1e-6)
