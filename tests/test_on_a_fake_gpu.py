"""What a GPU would trip over, found without one: tensors "on CUDA" that have sizes but no values.

An operation that mixes devices raises, and so does whatever asks a tensor for a value (`if x.any()`, `.tolist()`,
boolean masks, `unique`): on a GPU, the host would wait there for all that it has queued.
"""

import pytest
import torch
from shortening import shortened
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

import catseg.losses
import lseg.losses
from openvocab.checkpoint.load import Unfilled
from openvocab.engine.optimizer import build_optimizer
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_CATSEG, TINY_LSEG, numbered_words
from openvocab.vocab.vocabulary import Vocabulary

WINDOWS = "TEST: {SLIDING_WINDOW: {ENABLED: True, SIZE: 48, KERNEL: 32, STRIDE: 16}}\n"
MAX_CLASSES = 4
CUT = ["MODEL.CATSEG.MAX_CLASSES", str(MAX_CLASSES)]
CASES = {  # name -> config, overrides
    "catseg": (TINY_CATSEG + WINDOWS, ["MODEL.CATSEG.TAPS", "[0, 1]", *CUT]),
    "catseg, eager": (TINY_CATSEG + WINDOWS, ["MODEL.CATSEG.TAPS", "[0, 1]", *CUT, "MODEL.CATSEG.KERNELS", "eager"]),
    "catseg, whole picture": (TINY_CATSEG, ["MODEL.CATSEG.TAPS", "[0, 1]"]),
    "lseg": (TINY_LSEG, ["MODEL.LSEG.TAPS", "[0, 1, 2, 3]"]),
}


def build(case, folder, *overrides):
    text, own = CASES[case]
    path = folder / "tiny.yaml"
    path.write_text(text)
    cfg = build_cfg(path, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", *own, *overrides])
    with Unfilled():
        return cfg, shortened(build_model(cfg))


def without_values(model, mode, device, precision=torch.float32):
    """Replaces parameters and buffers, in place."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                with mode:
                    dtype = precision if tensor.is_floating_point() else tensor.dtype
                    moved = torch.empty(tensor.shape, dtype=dtype, device=device)
                    if isinstance(tensor, nn.Parameter):
                        moved = nn.Parameter(moved, requires_grad=tensor.requires_grad)
                    tensors[name] = moved
    return model


@pytest.mark.parametrize(
    ("fast", "precision"),
    [(True, torch.float32), (True, torch.bfloat16), (False, torch.float32)],
    ids=["fast", "bfloat16", "reference"],
)
@pytest.mark.parametrize("case", CASES)
def test_evaluation(case, fast, precision, tmp_path):
    """Both outputs, and more words than are kept, or as many, where there is a cut; the picture comes from the host."""
    mode = FakeTensorMode()
    model = without_values(build(case, tmp_path, "MODEL.FAST", str(fast))[1].eval(), mode, "cuda", precision)
    with mode, torch.no_grad():
        kept = [(MAX_CLASSES - 1, "labels")] if str(MAX_CLASSES) in CASES[case][1] else []
        for count, output in (*kept, (MAX_CLASSES + 2, "labels"), (MAX_CLASSES + 2, "sem_seg")):
            request = {"image": torch.zeros(3, 64, 48, dtype=torch.uint8), "output": output,
                       "vocabulary": Vocabulary.from_words(numbered_words(count))}  # fmt: skip
            (answer,) = model([request])
            assert answer[output].device.type == "cuda"
            assert answer[output].shape == ((64, 48) if output == "labels" else (count, 64, 48))


@pytest.mark.parametrize("case", ["catseg, whole picture", "lseg"])
def test_several_pictures(case, tmp_path):
    """Those of one size share a pass of the image encoder."""
    mode = FakeTensorMode()
    model = without_values(build(case, tmp_path)[1].eval(), mode, "cuda")
    sizes = ((64, 48), (32, 64), (64, 48))
    with mode, torch.no_grad():
        answers = model([{"image": torch.zeros(3, *size, dtype=torch.uint8), "output": "labels",
                          "vocabulary": Vocabulary.from_words(numbered_words(2))} for size in sizes])  # fmt: skip
    assert [tuple(answer["labels"].shape) for answer in answers] == list(sizes)
    assert all(answer["scores"].device.type == "cuda" for answer in answers)


@pytest.mark.parametrize("case", CASES)
def test_loss(case, tmp_path):
    """The forward pass of a training step; labels are checked where they come from, before they move."""
    mode = FakeTensorMode()
    model = without_values(build(case, tmp_path)[1].train(), mode, "cuda")
    with mode:
        assert loss_of(model, "cuda").device.type == "cuda"


@pytest.mark.parametrize("case", CASES)
def test_step(case, tmp_path, monkeypatch):
    """The whole step, on a host without values: PyTorch's engine goes backward on CUDA only where there is a driver."""
    mode = FakeTensorMode()
    for losses in (catseg.losses, lseg.losses):
        monkeypatch.setattr(losses, "check_labels", lambda *_: None)  # asks the host, which may be asked
    cfg, model = build(case, tmp_path)
    without_values(model.train(), mode, "cpu")
    with mode:
        optimizer = build_optimizer(cfg, model)
        loss_of(model, "cpu").backward()
        optimizer.step()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def loss_of(model, device):
    images = [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 2
    labels = [torch.zeros(64, 64, dtype=torch.long, device=device)] * 2
    vocabulary = Vocabulary.from_words(numbered_words(3))
    return sum(model.losses(images, labels, [vocabulary] * 2).values())


def test_what_would_be_found():
    mode = FakeTensorMode()
    with mode:
        x = torch.zeros(3, device="cuda")
        for question in (lambda: bool((x > 0).any()), lambda: x.tolist()):
            with pytest.raises(DataDependentOutputException):
                question()
        for question in (lambda: x[x > 0], lambda: x.unique()):
            with pytest.raises(DynamicOutputShapeException):
                question()
        with pytest.raises(RuntimeError, match="device"):
            x + torch.zeros(3)


def test_labels_are_checked_on_the_host(tmp_path):
    """Before they move: the model's device is never asked."""
    model = build("lseg", tmp_path)[1].train()
    item = {"image": torch.zeros(3, 32, 32, dtype=torch.uint8), "sem_seg": torch.full((32, 32), 7),
            "vocabulary": ["cat", "dog"]}  # fmt: skip
    model.to("meta")
    with pytest.raises(ValueError, match=r"sem_seg: got labels \[7\], expected 0..1"):
        model([item])
