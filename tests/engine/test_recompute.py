"""MODEL.CHECKPOINT_ACTIVATIONS: the same gradients to the last digit, from less that is kept."""

import math

import pytest
import torch
from curves import CONFIGS, global_batch, initial
from shortening import shortened

from openvocab.engine.setup import build_model
from openvocab.kernels.dispatch import interpreted
from openvocab.testing import GRADIENT_NOISE, KERNEL_BUDGET

TRITON = pytest.mark.skipif(not interpreted(), reason="needs TRITON_INTERPRET=1")


def gradients(method, recompute, *overrides, precision=torch.float32, size=2):
    """Of one step: loss, gradients, and the bytes that were kept for the backward pass outside of blocks."""
    cfg, state = initial(method, *overrides, "MODEL.CHECKPOINT_ACTIVATIONS", str(recompute))
    model = shortened(build_model(cfg))
    model.load_state_dict(state)
    kept = []

    def pack(tensor):
        kept.append(tensor.nbytes)
        return tensor

    torch.manual_seed(0)  # of the sampled words
    batch = global_batch(0, torch.float32, size)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model.train()(batch)["loss_sem_seg"]
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), found, sum(kept)


@pytest.mark.parametrize("method", CONFIGS)
def test_gradients_are_the_same(method):
    loss, plain, kept = gradients(method, False)
    again, found, less = gradients(method, True)
    assert torch.equal(loss, again) and found.keys() == plain.keys()
    assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())
    assert less < kept / (2 if method == "catseg" else 1.2)  # LSeg's decoder normalises batches and is kept


def test_a_network_with_batch_statistics_is_refused():
    keys = ["MODEL.LSEG.BACKBONE", "resnet101", "MODEL.LSEG.TAP_DIMS", "[256, 512, 1024, 2048]"]
    with pytest.raises(ValueError, match="CHECKPOINT_ACTIVATIONS: got True with ResNetEncoder, expected False"):
        initial("lseg", *keys, "MODEL.CHECKPOINT_ACTIVATIONS", "True")


@TRITON
@pytest.mark.slow
@pytest.mark.usefixtures("quick_interpreter")
def test_kernels_within_a_step():
    """Kernels whose blocks are computed again, against references that are kept, in float32 and under autocast.

    In float32 the whole gradient passes four kernels, each with its budget. In bfloat16 random weights leave the
    reference itself with an error of some percent against float32; the kernels may have twice that, as alone.
    """

    def of(recompute, kernels, precision):
        few = ["MODEL.VOCABULARY.TRAIN_SAMPLE", "2", "MODEL.CATSEG.KERNELS", kernels]
        return gradients("catseg", recompute, *few, precision=precision, size=1)[1]

    def error(found):
        return math.dist(*(torch.cat([x[name].flatten() for name in exact]).tolist() for x in (found, exact))) / size

    exact = of(False, "eager", torch.float32)
    size = math.hypot(*(float(gradient.norm()) for gradient in exact.values()))
    found = of(True, "triton", torch.float32)
    assert error(found) <= 4 * KERNEL_BUDGET
    for name, gradient in exact.items():  # where much cancels, an error is a larger share: 5e-5 was seen
        assert gradient.norm() <= GRADIENT_NOISE or (found[name] - gradient).norm() <= 2e-4 * gradient.norm(), name
    plain = error(of(False, "eager", torch.bfloat16))
    assert 1e-3 < plain < 0.2
    assert error(of(True, "triton", torch.bfloat16)) <= 2 * plain
