"""Which of CLIP's parameters are trained (arXiv 2303.11797, section 3.4)."""

from torch import nn

MODES = ("attention", "full", "none")


def set_trainable(clip: nn.Module, mode: str) -> None:
    """Sets `requires_grad` of every CLIP parameter.

    The last vision block's query and key weights are never trained: the dense block does not use them, and distributed
    training raises on parameters without gradient. (The original lists its query weight as trainable, with gradient 0.)

    Args:
        clip: with sub-modules `visual` and `text`, as `openvocab.clip.build.build_clip` returns it.
        mode: "attention" trains the query and value weights of both towers, "full" every parameter that the dense
            forward pass uses, "none" nothing.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {MODES} (MODEL.CLIP.FINETUNE)")
    last = f"visual.transformer.resblocks.{len(clip.visual.transformer.resblocks) - 1}.attn."
    unused = {last + "q_proj_weight", last + "k_proj_weight", "logit_scale"}
    for name, parameter in clip.named_parameters():
        tuned = mode == "full" or (mode == "attention" and name.endswith((".q_proj_weight", ".v_proj_weight")))
        parameter.requires_grad_(tuned and name not in unused)
