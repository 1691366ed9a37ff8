"""MODEL.CHECKPOINT_ACTIVATIONS: the same gradients to the last digit, from less that is kept."""

import math

import pytest
import torch
from curves import CONFIGS, global_batch, initial
from shortening import shortened

from openvocab.engine.setup import build_model
from openvocab.kernels.dispatch import interpreted

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
@pytest.mark.usefixtures("quick_interpreter")
@pytest.mark.parametrize(("precision", "largest"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_kernels_within_a_step(precision, largest):
    """Kernels, computed again, against the references that are kept.

    Errors relative to the norm of all gradients of a parameter. In float32 a kernel's own budget is 1e-6 and there are
    four behind each other. In bfloat16 each rounds once to 2^-9, as its reference does, and a ReLU may tip over.
    """
    few = ["MODEL.VOCABULARY.TRAIN_SAMPLE", "2"]
    loss, plain, _ = gradients("catseg", False, *few, "MODEL.CATSEG.KERNELS", "eager", precision=precision, size=1)
    again, found, _ = gradients("catseg", True, *few, "MODEL.CATSEG.KERNELS", "triton", precision=precision, size=1)
    assert math.isclose(loss, again, rel_tol=largest)
    for name, gradient in plain.items():
        size = float(gradient.norm())
        assert size <= 1e-6 or float((found[name] - gradient).norm()) <= largest * size, name
