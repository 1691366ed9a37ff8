"""Parts of `gpu.py`: time and memory of both methods, whole calls and training steps, with random weights.

A cell is one way (eager reference, compiled reference, fast path) in one precision; precisions that the device would
have to emulate are left out. Words are encoded beforehand. CAT-Seg sees 480 x 640 pixels by its sliding window, LSeg
480 x 480; the answer is a label map of that size. "tf32" is float32 with products and convolutions rounded to it.
`stops` counts how often a call makes the host wait for the device.
"""

import gc
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from measuring import autocast, seconds_of
from torch import Tensor, nn

from openvocab.devices import native
from openvocab.engine.optimizer import build_optimizer
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_CATSEG, TINY_LSEG, golden_image, numbered_words
from openvocab.vocab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gpu import Setting

WORDS = (1, 7, 20, 150, 459, 847)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
METHODS = ("catseg_b", "lseg_l16")
TOY = {
    "catseg_b": TINY_CATSEG + "TEST: {SLIDING_WINDOW: {ENABLED: True, SIZE: 48, KERNEL: 32, STRIDE: 16}}\n",
    "lseg_l16": TINY_LSEG,
}
WAYS = {  # how a model is built
    "eager": ["MODEL.FAST", "False", "MODEL.CATSEG.KERNELS", "eager"],
    "compiled": ["MODEL.FAST", "False", "MODEL.CATSEG.KERNELS", "eager"],
    "fast": [],
}
TRAINING = {"catseg_b": (4, 384, 171), "lseg_l16": (2, 480, 150)}  # images of a process, their side in pixels, words
MIB = 2**20


class Cell(NamedTuple):
    """What is measured: a way in a precision."""

    way: str
    precision: str


CELLS = [
    Cell("eager", "float32"),
    Cell("fast", "float32"),
    Cell("fast", "tf32"),
    Cell("fast", "bfloat16"),
    Cell("fast", "float16"),
    Cell("eager", "bfloat16"),
    Cell("eager", "float16"),
]
SEVERAL = [Cell("fast", "float32"), Cell("fast", "bfloat16")]
COMPILED = [Cell("compiled", "float32"), Cell("compiled", "bfloat16")]


def speed(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Times whole calls: one picture over the number of words, several pictures in a call, and last what compiles."""
    exact: dict[tuple[str, int], Tensor] = {}
    for cells, words, images in _plan(setting):
        for method in METHODS:
            models = {way: _build(method, way, setting) for way in dict.fromkeys(cell.way for cell in cells)}
            for count, number, cell in product(words, images, cells):
                if setting.late:
                    return
                row, labels = _measure(models[cell.way], method, cell, count, number, setting)
                truth = exact.setdefault((method, count), labels)
                yield row | {"labels as in float32 [%]": f"{100 * float((labels == truth).float().mean()):.3f}"}
            del models
            _forget()


def _plan(setting: "Setting") -> list[tuple[list[Cell], Sequence[int], Sequence[int]]]:
    """Lists cells, numbers of words and numbers of pictures that are measured with each other."""
    few = (3,) if setting.dry else (7, 150)
    plan = [
        (CELLS, few if setting.dry else WORDS, (1,)),
        (SEVERAL, few, (2,) if setting.dry else (8, 32)),
        (COMPILED, few, (1,)),
    ]
    return [([cell for cell in cells if _native(cell.precision, setting)], *rest) for cells, *rest in plan]


def train_step(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Times a step of both recipes on one process's share of the batch: forward, backward and optimizer."""
    for method in METHODS:
        for kernels in ("auto", "eager") if method == "catseg_b" else ("none",):
            for precision in filter(lambda name: _native(name, setting), PRECISIONS):
                if setting.late:
                    return
                yield _train_step(method, kernels, precision, setting)
                _forget()


def _native(precision: str, setting: "Setting") -> bool:
    if precision == "tf32":
        return setting.device == "cuda" and native(torch.bfloat16, setting.device)  # both came with capability 8
    return native(getattr(torch, precision), setting.device)


def _build(method: str, way: str, setting: "Setting") -> nn.Module:
    torch.manual_seed(0)
    overrides = [
        word for pair in zip(*[iter(WAYS[way])] * 2) for word in pair if method == "catseg_b" or "CATSEG" not in pair[0]
    ]
    model = build_model(_config(method, overrides, setting)).eval()
    if way == "compiled":
        backend = "eager" if setting.dry else "inductor"
        parts = (
            [model.clip.visual, model.sem_seg_head]
            if method == "catseg_b"
            else [model.backbone, model.sem_seg_head.decoder]
        )
        for part in parts:
            part.compile(backend=backend)
    return model


def _config(method: str, overrides: list[str], setting: "Setting") -> Any:
    keys = ["MODEL.DEVICE", setting.device, "MODEL.WEIGHTS", "not read", *overrides]
    if not setting.dry:
        return build_cfg(method, keys)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.yaml"
        path.write_text(TOY[method])
        return build_cfg(path, keys)


def _measure(
    model: nn.Module, method: str, cell: Cell, count: int, images: int, setting: "Setting"
) -> tuple[dict[str, Any], Tensor]:
    """Measures a cell: its row, and the labels of the first image."""
    words = Vocabulary.from_words(numbered_words(count))
    height, width = (64, 64) if setting.dry else (480, 640 if method == "catseg_b" else 480)
    request = [
        {"image": golden_image(height, width, seed).to(setting.device), "vocabulary": words, "output": "labels"}
        for seed in range(images)
    ]
    lowered = cell.precision.replace("tf32", "float32")
    with warnings.catch_warnings(), torch.inference_mode(), _tf32(cell.precision), autocast(lowered, setting.device):
        warnings.simplefilter("ignore")  # of 847 words 256 are kept
        answer = model(request)[0]["labels"]
        peak = _peak(lambda: model(request), setting)
        row = {"method": method, "way": cell.way, "precision": cell.precision, "words": count, "images": images,
               "ms": f"{1e3 * seconds_of(lambda: model(request), setting.device, setting.seconds):.2f}",
               "peak [MiB]": peak, "stops": _stops(lambda: model(request), setting)}  # fmt: skip
    return row, answer.cpu()


def _train_step(method: str, kernels: str, precision: str, setting: "Setting") -> dict[str, Any]:
    images, side, count = (2, 64, 3) if setting.dry else TRAINING[method]
    torch.manual_seed(0)
    cfg = _config(method, ["MODEL.CATSEG.KERNELS", kernels] if kernels != "none" else [], setting)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    lowered = precision.replace("tf32", "float32")
    scaler = torch.amp.GradScaler(setting.device, enabled=precision == "float16" and not setting.dry)
    labels = torch.randint(count, (side // 16, side // 16)).repeat_interleave(16, 0).repeat_interleave(16, 1)
    batch = [{"image": golden_image(side, side, seed), "sem_seg": labels,
              "vocabulary": Vocabulary.from_words(numbered_words(count))} for seed in range(images)]  # fmt: skip
    losses = []

    def step() -> None:
        with autocast(lowered, setting.device):
            loss = model(batch)["loss_sem_seg"]
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())

    with _tf32(precision):
        peak = _peak(step, setting)
        seconds = seconds_of(step, setting.device, 4 * setting.seconds)
    return {"method": method, "kernels": kernels, "precision": precision, "images": images, "side": side,
            "words": count, "ms": f"{1e3 * seconds:.1f}", "peak [MiB]": peak,
            "first loss": f"{float(losses[0]):.6f}", "second loss": f"{float(losses[1]):.6f}"}  # fmt: skip


@contextmanager
def _tf32(precision: str) -> Iterator[None]:
    """Allows TF32 where it is what is measured."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for flag, value in zip(flags, before):
            flag.allow_tf32 = value


def _peak(call: Callable[[], object], setting: "Setting") -> str:
    """MiB that a call takes above what is there already; not measured on a CPU."""
    if setting.dry:
        call()
        return ""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return f"{(torch.cuda.max_memory_allocated() - before) / MIB:.0f}"


def _stops(call: Callable[[], object], setting: "Setting") -> str:
    """How often a call waits for the device; not known on a CPU."""
    if setting.dry:
        return ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return str(sum("synchroniz" in str(warning.message) for warning in said))


def _forget() -> None:
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
