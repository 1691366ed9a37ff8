"""Gradients jump at kinks: ReLUs near zero, and maxima of two values that are nearly equal. Float64 decides there.

An argument that is smaller than its own rounding has either sign in float32: another CPU, another gradient, and neither
is wrong. So a float64 run decides all kinks, and the gradient in float32 follows it: what is left is rounding, alike on
every machine. The golden gradients were made in float32 and had to decide alone. How far that carries them is measured:
`flip` turns over all kinks that float32 cannot decide, each with a random sign. What single kinks do to a gradient is
nearly orthogonal, so no part of them moves it farther than all do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


class Kinks:
    """All kinks of a forward pass, in the order in which they are met.

    Attributes:
        margins: of the float64 run: how far each argument lies from its kink.
        choices: of the float64 run: which side it lies on, or which are the two largest.
        rounding: per operation, the largest error of a margin in float32.
        signs: per operation, 1 or -1 where a flip is asked for and 0 elsewhere; None for gradients as float64 decides.
    """

    def __init__(self):
        self.margins: list[Tensor] = []
        self.choices: list[Tensor] = []
        self.rounding: list[float] = []
        self.signs: list[Tensor] | None = None
        self._following = False

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Inside, a float64 forward pass decides."""
        with self._patched():
            yield

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, a float32 forward pass takes over the decisions for its gradients."""
        self._following = True
        with self._patched():
            yield
        assert len(self.rounding) == len(self.margins) > 0, "the two runs met different kinks"

    def flip(self) -> None:
        """From now on gradients are those with all undecided kinks turned over."""
        generator = torch.Generator().manual_seed(0)
        self.signs = []
        for margin, rounding in zip(self.margins, self.rounding, strict=True):
            signs = 2 * torch.randint(0, 2, margin.shape, generator=generator) - 1
            self.signs.append(signs.to(margin.device) * (margin.abs() <= rounding))

    def meet(self, margin: Tensor, choice: Tensor) -> int:
        """Notes an operation, and returns its number."""
        if not self._following:
            self.margins.append(margin)
            self.choices.append(choice)
            return len(self.margins) - 1
        exact = self.margins[len(self.rounding)]
        self.rounding.append(float((margin - exact).abs().max()))
        return len(self.rounding) - 1

    def largest(self, x: Tensor) -> Tensor:
        """Indices of the two largest along the first axis, as float64 decides."""
        return self.choices[len(self.rounding)] if self._following else x.topk(2, dim=0).indices

    @contextmanager
    def _patched(self) -> Iterator[None]:
        def amax(x: Tensor, dim: int) -> Tensor:
            assert dim == 0
            return _Max.apply(x, self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(F, "relu", lambda x, inplace=False: _Relu.apply(x, 0.0, self))
            patch.setattr(F, "leaky_relu", lambda x, slope=0.01, inplace=False: _Relu.apply(x, slope, self))
            patch.setattr(Tensor, "amax", amax)
            yield


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope, kinks):
        ctx.slope, ctx.kinks, ctx.number = slope, kinks, kinks.meet(x.detach(), x.detach() > 0)
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx, grad):
        gate = ctx.kinks.choices[ctx.number].to(grad.dtype)
        if ctx.kinks.signs is not None:
            gate = gate + ctx.kinks.signs[ctx.number]
        return grad * (ctx.slope + (1 - ctx.slope) * gate), None, None


class _Max(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kinks):
        ctx.largest, ctx.kinks, ctx.shape = kinks.largest(x.detach()), kinks, x.shape
        first, second = x.detach().gather(0, ctx.largest)
        ctx.number = kinks.meet(first - second, ctx.largest)
        return first.clone()

    @staticmethod
    def backward(ctx, grad):
        moved = torch.zeros_like(grad) if ctx.kinks.signs is None else grad * ctx.kinks.signs[ctx.number]
        out = grad.new_zeros(ctx.shape).scatter_(0, ctx.largest, torch.stack([grad - moved, moved]))
        return out, None
