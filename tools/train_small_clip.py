"""Trains the small CLIP of EmojiScapes from scratch on a CPU and writes it in open_clip's format.

    python tools/train_small_clip.py --output output/clip_names
    python tools/train_small_clip.py --output output/clip --phase places --steps 500 --rate 1e-3 \
        --init output/clip_names/clip.pt
    python tools/export_weights.py output/clip/clip.pt openvocab/weights/emojiscapes_clip.pt

It sees crops and scenes with the names of what they show, never a mask. The losses compare with the embeddings of *all*
names (a softmax over the closed set of names instead of those in the batch; this is closer to classification than
CLIP's own loss, and said openly). The first phase teaches what things look like: the picture's embedding, and the best
twelfth of the dense tokens. The second teaches where they are: every dense token has to have one of the picture's
names, and every name some tokens. Resumes from its own checkpoint.
"""

import argparse
import json
import logging
import math
import time
from pathlib import Path

import cv2
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from openvocab.clip.weights import expand_token_table, read_state
from openvocab.data.emojiscapes import HELD_OUT_STYLE, TRAIN_STYLES, Scene, render_scene, world
from openvocab.data.emojiscapes.crops import CropPainter
from openvocab.data.emojiscapes.scenes import IGNORE, stream
from openvocab.engine.files import replace_atomically

logger = logging.getLogger("train_small_clip")

SCENE_SIDE = 128  # pixels; crops of this side are whole scenes, as the segmentation head will see them
TEMPLATES = ("{}", "a {}", "a photo of a {}", "A photo of a {} in the scene")
STAGES = {  # (share of all steps, side of the crops in pixels, batch size)
    "names": ((0.55, 48, 160), (0.30, 64, 128), (0.15, 112, 48)),
    "places": ((0.5, 64, 128), (0.5, SCENE_SIDE, 48)),
}
MAX_NAMES = 12


def stage_of(step: int, args: argparse.Namespace) -> tuple[int, int]:
    """Crop side and batch size at a step."""
    done = step / args.steps
    for share, side, batch in STAGES[args.phase]:
        if done < share:
            return side, batch
        done -= share
    return STAGES[args.phase][-1][1:]


class CropBatches(IterableDataset):
    """Batches from step `start` on, each a function of (phase, seed, step) only."""

    def __init__(self, args: argparse.Namespace, start: int):
        self.args, self.start = args, start

    def __iter__(self):
        cv2.setNumThreads(0)  # leave the cores to the training
        info = torch.utils.data.get_worker_info()
        phase, seed, steps = self.args.phase, self.args.seed, self.args.steps
        painter = CropPainter(world(), TRAIN_STYLES, stream("bank", seed))
        for step in range(self.start + info.id, steps, info.num_workers):
            painter.rng = stream("batch", phase, seed, step)
            side, batch = stage_of(step, self.args)
            difficulty = min(1.0, step / (0.35 * steps)) if phase == "names" else 1.0
            images, names = zip(*(self.sample(painter, side, difficulty) for _ in range(batch)), strict=True)
            padded = np.full((batch, MAX_NAMES), -1, np.int64)
            for row, present in zip(padded, names, strict=True):
                row[: len(present)] = present
            yield torch.from_numpy(np.stack(images)), torch.from_numpy(padded)

    @staticmethod
    def sample(painter: CropPainter, side: int, difficulty: float) -> tuple[np.ndarray, list[int]]:
        """One crop with few objects, more of them where the crop is large, or a whole scene with all its names."""
        if side == SCENE_SIDE:
            index = int(painter.rng.integers(1 << 31))
            image, labels = render_scene(Scene("mini", "clip", TRAIN_STYLES, index))
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            return image, np.setdiff1d(labels, [IGNORE]).tolist()[:MAX_NAMES]
        choices = (0, 1, 2) if side <= 64 else (1, 2, 3, 4)
        chances = (0.1, 0.65, 0.25) if side <= 64 else (0.1, 0.2, 0.35, 0.35)
        return painter.crop(side, int(painter.rng.choice(choices, p=chances)), difficulty)


def normalise(images: Tensor) -> Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) float32 with CLIP's mean and deviation."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN) * 255
    std = torch.tensor(open_clip.OPENAI_DATASET_STD) * 255
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def image_embeddings(visual: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The image tower for any grid: (B, C) embedding of the class token and (B, N, C) dense tokens, normalised."""
    x = visual.conv1(images)
    grid = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    table = visual.positional_embedding
    side = math.isqrt(table.shape[0] - 1)
    cells = table[1:].T.reshape(1, -1, side, side)
    cells = F.interpolate(cells, grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + torch.cat([table[None, :1], cells], 1)
    x = visual.ln_pre(x)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    width = x.shape[-1]
    attention = last.attn
    value = F.linear(last.ln_1(x), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    dense = attention.out_proj(value) + x[:, :1]
    dense = dense + last.mlp(last.ln_2(dense))
    whole = last(x)[:, 0]
    return tuple(F.normalize((visual.ln_post(y) @ visual.proj).float(), dim=-1) for y in (whole, dense[:, 1:]))


def losses(
    whole: Tensor, dense: Tensor, text: Tensor, scale: Tensor, names: Tensor, nouns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Three losses of a softmax over all names.

    The picture must have the names of its objects (or of the stuff, if it shows nothing else); each name must be that
    of some tokens; and each token must have one of the names.
    """
    present = names >= 0
    objects = present & (names < nouns)
    target = torch.where(objects.any(1, keepdim=True), objects, present).float()
    target = target / target.sum(1, keepdim=True)
    log_whole = (scale * whole @ text.T).log_softmax(-1)
    of_picture = -(target * log_whole.gather(1, names.clamp_min(0))).sum(1).mean()

    log_dense = (scale * dense @ text.T).log_softmax(-1)
    count = max(1, dense.shape[1] // 12)
    wanted = names.clamp_min(0)[:, None].expand(-1, dense.shape[1], -1)
    best = log_dense.gather(2, wanted).topk(count, dim=1).values.mean(1)
    of_tokens = -(best * present).sum() / present.sum()
    inside = log_dense.gather(2, wanted).masked_fill(~present[:, None], -torch.inf).logsumexp(-1)
    return of_picture, of_tokens, -inside.mean()


class Names:
    """Tokens of every name and synonym in every template."""

    def __init__(self, context: int):
        tokenizer = open_clip.SimpleTokenizer(context_length=context)
        world_ = world()
        synonyms = [(name, *other) for name, other in zip(world_.nouns, world_.synonyms, strict=True)]
        words = synonyms + [(name,) for name in world_.stuff]
        self.tokens = {t: [tokenizer([t.format(w) for w in entry]) for entry in words] for t in TEMPLATES}

    def draw(self, rng: np.random.Generator) -> Tensor:
        """(T, context) tokens, each name in a random wording."""
        wordings = [self.tokens[TEMPLATES[k]] for k in rng.integers(len(TEMPLATES), size=len(self.tokens["{}"]))]
        return torch.stack([w[i][int(rng.integers(len(w[i])))] for i, w in enumerate(wordings)])

    def fixed(self, template: str) -> Tensor:
        """(T, context) tokens of the main names in one template."""
        return torch.stack([entry[0] for entry in self.tokens[template]])


def optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if "resblocks" in n and p.ndim == 2]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=rate, weight_decay=0.0, betas=(0.9, 0.98))]


@torch.no_grad()
def zero_shot(
    model: nn.Module, names: Names, styles: tuple[str, ...], side: int, count: int = 960
) -> tuple[float, float]:
    """Top-1 over the nouns on fresh single-object crops: (class token, mean of the dense tokens)."""
    model.eval()
    painter = CropPainter(world(), styles, stream("zero-shot", styles, side))
    crops = [painter.crop(side, 1, 1.0) for _ in range(count)]
    nouns = len(world().nouns)
    text = F.normalize(model.encode_text(names.fixed(TEMPLATES[-1])[:nouns]).float(), dim=-1)
    target = torch.tensor([present[0] for _, present in crops])
    hits = np.zeros(2)
    for start in range(0, count, 120):
        images = torch.from_numpy(np.stack([image for image, _ in crops[start : start + 120]]))
        whole, dense = image_embeddings(model.visual, normalise(images))
        pooled = (20 * dense @ text.T).softmax(-1).mean(1)
        for k, score in enumerate((whole @ text.T, pooled)):
            hits[k] += (score.argmax(-1) == target[start : start + 120]).sum().item()
    model.train()
    return tuple(hits / count)


def save(path: Path, payload: dict) -> None:
    """Writes beside, then renames."""
    replace_atomically(path, lambda file: torch.save(payload, file))


def train(model: nn.Module, args: argparse.Namespace) -> None:
    """Trains to the last step, from the state in the output folder if there is one."""
    names = Names(model.context_length)
    optims = optimizers(model, args.rate)
    state_file, start, spent = args.output / "state.pt", 0, 0.0
    if state_file.is_file():
        state = torch.load(state_file)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optims, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start, spent = state["step"], state["seconds"]
    batches = DataLoader(CropBatches(args, start), batch_size=None, num_workers=1, prefetch_factor=8)
    begun, running, seen = time.time(), np.zeros(4), 0
    for step, (images, present) in enumerate(batches, start):
        rate = args.rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for optimizer in optims:
            optimizer.param_groups[0]["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            whole, dense = image_embeddings(model.visual, normalise(images))
            text = model.encode_text(names.draw(stream("names", args.seed, step)))
        text = F.normalize(text.float(), dim=-1)
        scale = model.logit_scale.exp().clamp(max=60)
        parts = losses(whole, dense, text, scale, present, len(world().nouns))
        weights = (1.0, 0.5, 0.0) if args.phase == "names" else (0.3, 0.5, 1.0)
        sum(weight * loss for weight, loss in zip(weights, parts, strict=True)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optims:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        running += (*(loss.item() for loss in parts), 1)
        seen += len(images)
        if (step + 1) % 50 == 0:
            took = time.time() - begun
            logger.info(
                "step %d/%d  side %d  picture %.3f  tokens %.3f, %.3f  scale %.1f  %.0f crops/s  %.1f min",
                *(step + 1, args.steps, images.shape[1], *(running[:3] / running[3]), scale.item()),
                *(seen / took, (spent + took) / 60),
            )
            running[:] = 0
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            result = {s: zero_shot(model, names, s, 64, 480) for s in (TRAIN_STYLES, (HELD_OUT_STYLE,))}
            logger.info("zero-shot top-1 (class token, dense tokens): %s", result)
            saved = [optimizer.state_dict() for optimizer in optims]
            seconds = spent + time.time() - begun
            save(state_file, {"model": model.state_dict(), "optimizers": saved, "step": step + 1, "seconds": seconds})


def export(model: nn.Module, args: argparse.Namespace) -> None:
    """Rounds to half precision, sets rows of the token table that no name uses to zero, and measures what is left."""
    names = Names(model.context_length)
    used = torch.unique(torch.cat([t for w in names.tokens.values() for t in w]).flatten())
    state = {k: v.detach().half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    kept = torch.zeros(len(state["token_embedding.weight"]), 1, dtype=torch.bool)
    kept[used] = True
    state["token_embedding.weight"] = torch.where(kept, state["token_embedding.weight"], 0)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    report = {
        f"{label} {side}px": zero_shot(model, names, styles, side)
        for label, styles in (("training styles", TRAIN_STYLES), ("held-out style", (HELD_OUT_STYLE,)))
        for side in (48, 64)
    }
    logger.info("zero-shot top-1 (class token, dense tokens) after rounding to half precision: %s", report)
    save(args.output / "clip.pt", state)
    (args.output / "zero_shot.json").write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/small_clip"))
    parser.add_argument("--config", type=Path, default=Path("openvocab/clip/configs/emojiscapes-vit-s8.json"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--phase", choices=sorted(STAGES), default="names", help="see the top of this file")
    parser.add_argument("--init", type=Path, help="parameters to start from (this script's, or the shipped file)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(args.seed)
    open_clip.add_model_config(args.config)
    model = open_clip.create_model(args.config.stem)
    model.logit_scale.data.fill_(math.log(15))
    if args.init:
        state = expand_token_table(read_state(args.init), model.vocab_size)
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    # Flash attention's backward pass on a CPU takes half of the step at these short lengths; the plain one does not.
    with sdpa_kernel([SDPBackend.MATH]):
        train(model, args)
    export(model, args)


if __name__ == "__main__":
    main()
