"""Which of CLIP's parameters are trained (arXiv 2303.11797, section 3.4)."""

from torch import nn

from openvocab.clip.low_rank import ATTENTION, add_low_rank

MODES = ("attention", "full", "none")


def set_trainable(clip: nn.Module, mode: str, rank: int = 0) -> None:
    """Sets `requires_grad` of every CLIP parameter.

    The last vision block's query and key weights are never trained: the dense block does not use them, and distributed
    training raises on parameters without gradient. (The original lists its query weight as trainable, with gradient 0.)

    Args:
        clip: with sub-modules `visual` and `text`, as `openvocab.clip.build.build_clip` returns it.
        mode: "attention" trains the query and value weights of both towers, "full" every parameter that the dense
            forward pass uses, "none" nothing.
        rank: > 0 with "attention" trains matrices of this rank beside the weights instead; see `add_low_rank`.

    Raises:
        ValueError: unknown mode, or a rank that does not fit mode or weights.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {MODES} (MODEL.CLIP.FINETUNE)")
    if rank and mode != "attention":
        raise ValueError(f"MODEL.CLIP.RANK: got {rank} with MODEL.CLIP.FINETUNE {mode!r}, expected 0, or 'attention'")
    last = f"visual.transformer.resblocks.{len(clip.visual.transformer.resblocks) - 1}.attn."
    unused = {last + "q_proj_weight", last + "k_proj_weight", "logit_scale"}
    for name, parameter in clip.named_parameters():
        tuned = mode == "full" or (mode == "attention" and name.rpartition(".")[2] in ATTENTION)
        parameter.requires_grad_(tuned and name not in unused)
    if rank:
        add_low_rank(clip, rank)
