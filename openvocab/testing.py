"""Inputs and error budgets that tests and benchmarks share. Not imported by the package itself.

The rules for golden weights and images are those of `tests/golden/README.md`.
"""

import itertools
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CATSEG_OUTPUT_BUDGET = 2e-5  # of max |golden|
LSEG_OUTPUT_BUDGET = 5e-5  # the same
GRADIENT_NORM_BUDGET = 5e-4  # relative
GRADIENT_NOISE = 1e-9  # gradient norms below are rounding noise
KERNEL_BUDGET = 1e-6  # of max |value| in float32: 16 roundings of 6e-8, some of sums over 847 classes; seen: 5e-7

SMALL_VOCABULARY = (("cat",), ("sofa", "couch"), ("sky",), ("tree",), ("person",), ("swimming pool",), ("wall",))
ADJECTIVES = "red green old wooden tiny glass"
NOUNS = (
    "house car lamp boat chair road bridge flower horse window bottle train stone cloud shirt clock bag pot plate "
    "door fence box ball tower book bed desk fan oven sink vase rug sign pole tent cup shoe hat ship bus van mug "
    "jar bin mat bar bell drum key cake"
)

# A config whose model computes in milliseconds and knows nothing. Its CLIP is for tests alone: 11 MB with all of the
# tokenizer's 49,408 tokens, where the smallest that was trained has 39.
TINY_CATSEG = """\
MODEL:
  META_ARCHITECTURE: CATSeg
  CLIP: {NAME: tiny-vit, INPUT_SIZE: 32}
  SEM_SEG_HEAD: {NAME: CATSegHead}
  CATSEG:
    TAPS: [1, 3]
    HIDDEN_DIM: 32
    NUM_LAYERS: 1
    NUM_HEADS: 2
    WINDOW_SIZE: 2
    POOLING_SIZES: [1, 1]
    GUIDANCE_DIM: 16
    DECODER_DIMS: [32, 16]
    DECODER_GUIDANCE_DIMS: [16, 16]
    DECODER_GUIDANCE_PROJ_DIMS: [16, 16]
    PAD_LEN: 16
"""

TINY_LSEG = """\
MODEL:
  META_ARCHITECTURE: LSeg
  CLIP: {NAME: tiny-vit}
  SEM_SEG_HEAD: {NAME: LSegHead}
  LSEG:
    BACKBONE: tiny-vit
    TAPS: [1, 2, 4, 5]
    TAP_DIMS: [8, 8, 16, 16]
    FEATURES: 8
"""

TINY_TRAINING = """\
INPUT:
  MIN_SIZE_TRAIN: [32]
  MIN_SIZE_TEST: 32
  CROP: {ENABLED: true, TYPE: absolute, SIZE: [32, 32]}
SOLVER: {MAX_ITER: 2, IMS_PER_BATCH: 2}
DATALOADER: {NUM_WORKERS: 0}
"""
"""Behind one of the two: two iterations on crops of 32 pixels."""


def golden_tensor(name: str, shape: Sequence[int]) -> Tensor:
    """Draws the golden value of one parameter.

    Args:
        name: the original's full name; it seeds the generator.
        shape: of the parameter.

    Returns:
        float32 tensor of that shape.
    """
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if not shape:
        x = np.asarray(generator.standard_normal(), dtype=np.float32)
    else:
        x = generator.standard_normal(tuple(shape), dtype=np.float32)
    if len(shape) >= 2:
        x /= np.float32(math.sqrt(math.prod(shape[1:])))
    elif name.endswith("running_var"):
        x = 1 + np.float32(0.1) * np.abs(x)
    else:
        x = (1 if name.endswith("weight") else 0) + np.float32(0.1) * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def golden_state(path: Path, fixed: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Makes a state dict in the original's names from a list of names and shapes.

    Args:
        path: json file, name -> [dtype, shape].
        fixed: values of entries that the architecture defines; attention masks are zero where they are not given.

    Returns:
        Names and tensors.
    """
    fixed = fixed or {}
    state = {}
    for name, (dtype, shape) in json.loads(path.read_text()).items():
        if name in fixed:
            state[name] = fixed[name]
        elif name.endswith("attn_mask") or "float" not in dtype:
            state[name] = torch.zeros(shape, dtype=getattr(torch, dtype))
        else:
            state[name] = golden_tensor(name, shape)
    return state


def golden_image(height: int, width: int, seed: int = 0) -> Tensor:
    """Draws a golden test image: (3, height, width) uint8."""
    x, y = np.arange(width, dtype=np.float64)[None, :], np.arange(height, dtype=np.float64)[:, None]
    waves = np.stack([127.5 + 60 * np.sin(x / (17 + 5 * c) + c) + 60 * np.cos(y / (23 - 4 * c) - c) for c in range(3)])
    noise = np.random.Generator(np.random.PCG64(seed)).integers(-6, 7, (3, height, width))
    return torch.from_numpy(np.clip(waves + noise, 0, 255).astype(np.uint8))


def golden_labels(count: int = 2) -> list[Tensor]:
    """Draws the golden training labels: `count` maps (384, 384) int64 in 0..6, the first 16 rows 255 (ignored)."""
    generator = np.random.Generator(np.random.PCG64(7))
    labels = []
    for _ in range(count):
        label = torch.from_numpy(np.kron(generator.integers(0, 7, (12, 12)), np.ones((32, 32), dtype=np.int64)))
        label[:16] = 255
        labels.append(label)
    return labels


def large_vocabulary() -> list[str]:
    """Returns the 300 golden words "adjective noun", adjectives in the outer loop."""
    return [f"{adjective} {noun}" for adjective in ADJECTIVES.split() for noun in NOUNS.split()]


def numbered_words(count: int) -> list[str]:
    """Returns any number of different words: the golden ones over and over, each with its number."""
    return [f"{word} {index}" for index, word in zip(range(count), itertools.cycle(large_vocabulary()))]


def relative_error(got: Tensor, golden: np.ndarray) -> float:
    """Returns max |got - golden| / max |golden|; shapes must agree.

    Raises:
        ValueError: they do not.
    """
    want = torch.from_numpy(np.asarray(golden)).double()
    if got.shape != want.shape:
        raise ValueError(f"got: shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    return float((got.detach().double().cpu() - want).abs().max() / want.abs().max())


def directional_derivative_error(module: torch.nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> float:
    """Compares a module's gradient with central finite differences along one random direction, in float64.

    Golden gradients are norms and do not see a sign; this does.

    Args:
        module: converted to float64; its answer is one tensor.
        inputs: of its forward pass; floating-point ones take part in the direction.
        seed: of the direction and of the weights of the answer.

    Returns:
        |finite difference - gradient| / |gradient|.
    """
    module.double()
    generator = torch.Generator().manual_seed(seed)
    inputs = [x.detach().double().requires_grad_() if x.is_floating_point() else x for x in inputs]
    variables = [p for p in module.parameters() if p.requires_grad]
    variables += [x for x in inputs if x.is_floating_point()]
    directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in variables]
    with torch.no_grad():
        weights = torch.randn(module(*inputs).shape, generator=generator, dtype=torch.float64)

    def value() -> Tensor:
        return (module(*inputs) * weights).sum()

    gradients = torch.autograd.grad(value(), variables)
    exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions))
    step, values = 1e-7, []
    with torch.no_grad():
        for sign in (1, -2, 1):  # to +step, to -step, back
            for x, d in zip(variables, directions):
                x.add_(d, alpha=sign * step)
            values.append(float(value()))
    return abs((values[0] - values[1]) / (2 * step) - exact) / abs(exact)
