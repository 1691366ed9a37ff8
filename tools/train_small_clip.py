"""Trains the small CLIP of EmojiScapes from scratch, on a CPU or a GPU, and writes it in open_clip's format.

    export OMP_NUM_THREADS=1
    python tools/train_small_clip.py --output output/clip_names
    python tools/train_small_clip.py --output output/clip --phase places --init output/clip_names/clip.pt
    python tools/export_weights.py output/clip/clip.pt openvocab/weights/emojiscapes_clip.pt

On a GPU: --device cuda --workers 12, one process.

It sees crops and scenes with the names of what they show, never a mask. The losses compare with the embeddings of *all*
names (a softmax over the closed set of names instead of those in the batch; this is closer to classification than
CLIP's own loss, and said openly). The first phase teaches what things look like: the picture's embedding, and the best
twelfth of the dense tokens. The second teaches where they are, with whole scenes and with mosaics of captioned crops:
every dense token has to have one of the names of its scene or crop, and every name some tokens. Resumes from its own
checkpoint.
"""

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from openvocab.clip.weights import expand_token_table, read_state
from openvocab.data.emojiscapes import HELD_OUT_STYLE, TRAIN_STYLES, Scene, render_scene, world
from openvocab.data.emojiscapes.crops import CropPainter
from openvocab.data.emojiscapes.scenes import IGNORE, stream
from openvocab.devices import to_device, usable_precision
from openvocab.engine.launcher import run_processes
from openvocab.files import replace_atomically

logger = logging.getLogger("train_small_clip")

ROOT = Path(__file__).resolve().parent.parent
PATCH = 8  # pixels
SCENE_SIDE = 128  # pixels, as the segmentation head will see scenes
SCENES = 0.35  # share of whole scenes in the second phase; the rest are mosaics
TEMPLATES = ("{}", "a {}", "a photo of a {}", "A photo of a {} in the scene")
STAGES = {  # (share of all steps, side of the pictures in pixels, batch size over all processes)
    "names": ((0.55, 48, 160), (0.30, 64, 128), (0.15, 112, 48)),
    "places": ((1.0, SCENE_SIDE, 64),),
}
MAX_NAMES, MAX_REGIONS = 12, 16
RATES = {"names": 3e-3, "places": 1.5e-3}


def stage_of(step: int, args: argparse.Namespace) -> tuple[int, int]:
    """Crop side and batch size at a step."""
    done = step / args.steps
    for share, side, batch in STAGES[args.phase]:
        if done < share:
            return side, batch
        done -= share
    return STAGES[args.phase][-1][1:]


class Sample(NamedTuple):
    """A picture and what is said about it.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        regions: (N) uint8, for each patch the number of the crop it belongs to.
        names: (`MAX_REGIONS`, `MAX_NAMES`) int64 class ids of each crop, -1 where there are no more.
        share: of its crop's patches, how many each name must have at least.
    """

    image: np.ndarray
    regions: np.ndarray
    names: np.ndarray
    share: np.float32


class Batches(IterableDataset):
    """Batches from step `start` on, each a function of (phase, seed, step, process) only."""

    def __init__(self, args: argparse.Namespace, start: int):
        self.args, self.start = args, start
        self.rank, self.processes = comm.get_rank(), comm.get_world_size()

    def __iter__(self):
        cv2.setNumThreads(0)  # leave the cores to the training
        info = torch.utils.data.get_worker_info()
        phase, seed, steps = self.args.phase, self.args.seed, self.args.steps
        painter = CropPainter(world(), self.args.styles, stream("bank", seed))
        for step in range(self.start + info.id, steps, info.num_workers):
            painter.rng = stream("batch", phase, seed, step, self.rank)
            side, batch = stage_of(step, self.args)
            difficulty = min(1.0, step / (0.35 * steps))
            samples = [
                crop(painter, side, difficulty) if phase == "names" else scene_or_mosaic(painter, self.args.styles)
                for _ in range(max(1, batch // self.processes))
            ]
            yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*samples, strict=True))


def pad_names(names: list[list[int]]) -> np.ndarray:
    """Lists of class ids, one for each crop -> (`MAX_REGIONS`, `MAX_NAMES`), -1 where there are no more."""
    padded = np.full((MAX_REGIONS, MAX_NAMES), -1, np.int64)
    for row, present in zip(padded, names, strict=False):
        present = sorted(set(present))[:MAX_NAMES]
        row[: len(present)] = present
    return padded


def crop(painter: CropPainter, side: int, difficulty: float) -> Sample:
    """One crop with few objects, more of them where the crop is large."""
    choices = (0, 1, 2) if side <= 64 else (1, 2, 3, 4)
    chances = (0.1, 0.65, 0.25) if side <= 64 else (0.1, 0.2, 0.35, 0.35)
    image, names = painter.crop(side, int(painter.rng.choice(choices, p=chances)), difficulty)
    return Sample(image, np.zeros((side // PATCH) ** 2, np.uint8), pad_names([names]), np.float32(1 / 12))


def scene_or_mosaic(painter: CropPainter, styles: Sequence[str]) -> Sample:
    """A whole scene with all its names, or a mosaic of 4, 9 or 16 crops with the names of each."""
    across = SCENE_SIDE // PATCH
    if painter.rng.random() < SCENES:
        image, labels = render_scene(Scene("mini", "clip", tuple(styles), int(painter.rng.integers(1 << 31))))
        image = cv2.resize(image, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_AREA)
        names = [np.setdiff1d(labels, [IGNORE]).tolist()]
        return Sample(image, np.zeros(across**2, np.uint8), pad_names(names), np.float32(1 / 20))
    image, regions, names = painter.mosaic(int(painter.rng.choice((2, 3, 4), p=(0.35, 0.4, 0.25))), across, PATCH)
    return Sample(image, regions.ravel(), pad_names(names), np.float32(1 / 6))


def normalise(images: Tensor) -> Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) float32 with CLIP's mean and deviation."""
    mean, std = (
        255 * to_device(values, images.device)
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def through_block(block: nn.Module, x: Tensor) -> Tensor:
    """A transformer block; plain attention in the autocast type trains twice as fast on a CPU as torch's own."""
    attention, y = block.attn, block.ln_1(x)
    query, key, value = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in F.linear(y, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    )
    weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(-1)
    x = x + attention.out_proj((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
    return x + block.mlp(block.ln_2(x))


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
        x = through_block(block, x)
    width = x.shape[-1]
    attention = last.attn
    value = F.linear(last.ln_1(x), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    dense = attention.out_proj(value) + x[:, :1]
    dense = dense + last.mlp(last.ln_2(dense))
    whole = through_block(last, x)[:, 0]
    return tuple(F.normalize((visual.ln_post(y) @ visual.proj).float(), dim=-1) for y in (whole, dense[:, 1:]))


def losses(
    whole: Tensor, dense: Tensor, text: Tensor, scale: Tensor, said: Sample, nouns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Three losses of a softmax over all names.

    The picture must have the names of its objects (or of the stuff, if it shows nothing else); each name of a crop must
    be that of some of the crop's tokens; and each token must have one of the names of its crop.
    """
    count, tokens, classes = len(whole), dense.shape[1], len(text)
    picture, region, slot = (said.names >= 0).nonzero(as_tuple=True)
    name = said.names[picture, region, slot]
    allowed = torch.zeros(count, MAX_REGIONS, classes, dtype=torch.bool, device=text.device)
    allowed[picture, region, name] = True

    shown = allowed.any(1)
    objects = shown & (torch.arange(classes, device=text.device) < nouns)
    target = torch.where(objects.any(1, keepdim=True), objects, shown).float()
    target = target / target.sum(1, keepdim=True)
    of_picture = -(target * (scale * whole @ text.T).log_softmax(-1)).sum(1).mean()

    log_dense = (scale * dense @ text.T).log_softmax(-1)
    of_crop = said.regions[picture] == region[:, None]  # (names, N)
    scores = log_dense[picture, :, name].masked_fill(~of_crop, -torch.inf).sort(dim=1, descending=True).values
    wanted = (of_crop.sum(1) * said.share[picture]).long().clamp_min(1)[:, None]
    best = torch.arange(tokens, device=text.device) < wanted
    of_names = -(scores.masked_fill(~best, 0).sum(1, keepdim=True) / wanted).mean()

    rows = allowed.gather(1, said.regions.long()[..., None].expand(-1, -1, classes))
    of_tokens = -log_dense.masked_fill(~rows, -torch.inf).logsumexp(-1).mean()
    return of_picture, of_names, of_tokens


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
def zero_shot(model: nn.Module, names: Names, styles: Sequence[str], side: int, count: int) -> tuple[float, float]:
    """Top-1 over the nouns on fresh single-object crops: (class token, mean of the dense tokens)."""
    model.eval()
    device = model.logit_scale.device
    painter = CropPainter(world(), styles, stream("zero-shot", tuple(styles), side))
    crops = [painter.crop(side, 1, 1.0) for _ in range(count)]
    nouns = len(world().nouns)
    text = F.normalize(model.encode_text(names.fixed(TEMPLATES[-1])[:nouns].to(device)).float(), dim=-1)
    target = torch.tensor([present[0] for _, present in crops], device=device)
    hits = np.zeros(2)
    for start in range(0, count, 120):
        images = torch.from_numpy(np.stack([image for image, _ in crops[start : start + 120]])).to(device)
        whole, dense = image_embeddings(model.visual, normalise(images))
        pooled = (20 * dense @ text.T).softmax(-1).mean(1)
        for k, score in enumerate((whole @ text.T, pooled)):
            hits[k] += (score.argmax(-1) == target[start : start + 120]).sum().item()
    model.train()
    return tuple(hits / count)


def average_gradients(model: nn.Module) -> None:
    """Averages over the processes, in place."""
    if comm.get_world_size() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    parts = (flat / comm.get_world_size()).split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def judged(args: argparse.Namespace) -> list[Sequence[str]]:
    """The styles that accuracy is measured in: those of training, and the held-out one in a training with all."""
    return [args.styles, *([(HELD_OUT_STYLE,)] if tuple(args.styles) == TRAIN_STYLES else [])]


def save(path: Path, payload: dict) -> None:
    """Writes beside, then renames."""
    replace_atomically(path, lambda file: torch.save(payload, file))


def train(model: nn.Module, args: argparse.Namespace) -> None:
    """Trains to the last step, from the state in the output folder if there is one."""
    names, device = Names(model.context_length), torch.device(args.device)
    precision = usable_precision(args.dtype, device)
    rate_at_most = args.rate or RATES[args.phase]
    optims = optimizers(model, rate_at_most)
    state_file, start, spent = args.output / "state.pt", 0, 0.0
    if state_file.is_file():
        state = torch.load(state_file, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optims, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start, spent = state["step"], state["seconds"]
    batches = DataLoader(Batches(args, start), None, num_workers=args.workers, prefetch_factor=8)
    begun, running, seen = time.time(), torch.zeros(4, device=device), 0
    for step, batch in enumerate(batches, start):
        said = Sample(*(part.to(device, non_blocking=True) for part in batch))
        rate = rate_at_most * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for optimizer in optims:
            optimizer.param_groups[0]["lr"] = rate
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            whole, dense = image_embeddings(model.visual, normalise(said.image))
            text = model.encode_text(names.draw(stream("names", args.seed, step)).to(device))
        text = F.normalize(text.float(), dim=-1)
        scale = model.logit_scale.exp().clamp(max=60)
        parts = losses(whole, dense, text, scale, said, len(world().nouns))
        weights = (1.0, 0.5, 0.0) if args.phase == "names" else (0.2, 0.7, 1.0)
        sum(weight * loss for weight, loss in zip(weights, parts, strict=True)).backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optims:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        running += torch.stack([*(loss.detach() for loss in parts), torch.ones_like(parts[0])])
        seen += len(said.image) * comm.get_world_size()
        if (step + 1) % 50 == 0:
            took = time.time() - begun
            logger.info(
                "step %d/%d  side %d  picture %.3f  tokens %.3f, %.3f  scale %.1f  %.0f pictures/s  %.1f min",
                *(step + 1, args.steps, said.image.shape[1], *(running[:3] / running[3]).tolist(), scale.item()),
                *(seen / took, (spent + took) / 60),
            )
            running.zero_()
        if comm.is_main_process() and ((step + 1) % 500 == 0 or step + 1 == args.steps):
            result = {" ".join(styles): zero_shot(model, names, styles, 64, args.crops // 2) for styles in judged(args)}
            logger.info("zero-shot top-1 (class token, dense tokens): %s", result)
            states = {"model": model.state_dict(), "optimizers": [part.state_dict() for part in optims]}
            save(state_file, states | {"step": step + 1, "seconds": spent + time.time() - begun})


def export(model: nn.Module, args: argparse.Namespace) -> None:
    """Rounds to half precision, sets rows of the token table that no name uses to zero, and measures what is left."""
    names = Names(model.context_length)
    used = torch.unique(torch.cat([t for w in names.tokens.values() for t in w]).flatten())
    state = {k: v.detach().cpu().half() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}
    kept = torch.zeros(len(state["token_embedding.weight"]), 1, dtype=torch.bool)
    kept[used] = True
    state["token_embedding.weight"] = torch.where(kept, state["token_embedding.weight"], 0)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    report = {
        f"{label} {side}px": zero_shot(model, names, styles, side, args.crops)
        for label, styles in zip(("training styles", "held-out style"), judged(args))
        for side in (48, 64)
    }
    logger.info("zero-shot top-1 (class token, dense tokens) after rounding to half precision: %s", report)
    save(args.output / "clip.pt", state)
    (args.output / "zero_shot.json").write_text(json.dumps(report, indent=1) + "\n")


def run(args: argparse.Namespace) -> None:
    """One of the processes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logger.disabled = not comm.is_main_process()
    torch.manual_seed(args.seed)
    open_clip.add_model_config(args.config)
    model = open_clip.create_model(args.config.stem)
    model.logit_scale.data.fill_(math.log(15))
    model.to(args.device)
    if args.init:
        state = expand_token_table(read_state(args.init), model.vocab_size)
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    # Flash attention's backward pass on a CPU takes half of the step at these short lengths; the plain one does not.
    with sdpa_kernel([SDPBackend.MATH]):
        train(model, args)
    if comm.is_main_process():
        export(model, args)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/small_clip"))
    parser.add_argument("--config", type=Path, default=ROOT / "openvocab/clip/configs/emojiscapes-vit-s8.json")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, help="greatest learning rate; the phase's own if not given")
    parser.add_argument("--phase", choices=sorted(STAGES), default="names", help="see the top of this file")
    parser.add_argument("--init", type=Path, help="parameters to start from (this script's, or the shipped file)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, help="default: 2 on a CPU, 1 on a GPU")
    parser.add_argument("--workers", type=int, default=1, help="that draw, for each process")
    parser.add_argument("--styles", nargs="+", default=TRAIN_STYLES, choices=TRAIN_STYLES, help="to train on")
    parser.add_argument("--crops", type=int, default=960, help="that accuracy is measured on")
    parser.add_argument("--dtype", default="bfloat16", help="float32, bfloat16 (default) or float16; with ! forced")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    processes = args.processes or (2 if args.device == "cpu" else 1)
    return run_processes(run, (args,), processes=processes, device=args.device)


if __name__ == "__main__":
    sys.exit(main())
