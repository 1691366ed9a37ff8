"""LSeg's released function to the last digit: every golden entry, through the loader of released checkpoints."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from kinks import Kinks

from lseg.checkpoint import is_superfluous
from lseg.losses import segmentation_loss
from lseg.spatial_regularization import SpatialRegularization
from openvocab.checkpoint.load import Unfilled, load_weights
from openvocab.clip.weights import read_state
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import (
    GRADIENT_NOISE,
    GRADIENT_NORM_BUDGET,
    LSEG_OUTPUT_BUDGET,
    golden_image,
    golden_labels,
    golden_state,
    golden_tensor,
    relative_error,
)
from openvocab.vocab.vocabulary import Vocabulary

FOLDER = Path(__file__).parent
LABELS = Vocabulary.from_words(["cat", "sofa", "sky", "tree", "person", "swimming pool", "other"])
CONFIGS = {
    "vitl16": "lseg_l16",
    "vitb32": "lseg_b32",
    "vitl16_rn50x16": "lseg_l16_rn50x16",
    "zs_resnet101": "lseg_rn101",
    "zs_vitl16": "lseg_l16",
}
FILTER = {name: golden_tensor(f"scratch.head_block.depthwise.depthwise.{name}", shape)
          for name, shape in (("weight", (1, 1, 3, 3)), ("bias", (1,)))}  # fmt: skip
large = [pytest.mark.slow]


@pytest.fixture(scope="module")
def model(request, device, scratch):
    """The model with golden weights, as Lightning saves them and loaded by `load_weights`, or all by Detectron2 (B)."""
    name = request.param
    path = scratch / f"{name}.ckpt"
    state = golden_weights(FOLDER / f"lseg_{name}_state_dict.json")
    by_detectron2 = name == "vitb32"
    released = {"state_dict": {f"net.{key}": value for key, value in state.items()}, "epoch": 3}
    torch.save({"model": state} if by_detectron2 else released, path)
    with Unfilled():
        model = build_model(build_cfg(CONFIGS[name], ["MODEL.DEVICE", device, "MODEL.WEIGHTS", str(path)]))
    if by_detectron2:
        DetectionCheckpointer(model).load(str(path))
    else:
        load_weights(model, path)
        path.unlink()
    del state, released
    yield model.eval()
    path.unlink(missing_ok=True)


def golden_weights(path):
    """Without drawing what takes no part in the function, a third of all: zeros, which would show where they did."""
    manifest = json.loads(path.read_text())
    return golden_state(
        path,
        {
            key: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
            for key, (dtype, shape) in manifest.items()
            if is_superfluous(key)
        },
    )


def on(*names, marks=()):
    return pytest.mark.parametrize(
        "model", [pytest.param(name, marks=marks) for name in names], indirect=True, scope="module"
    )


def check(got, entry, file):
    assert relative_error(got, torch.from_numpy(np.load(FOLDER / file)[entry])) < LSEG_OUTPUT_BUDGET


def logits(model, image, words=LABELS):
    with torch.inference_mode():
        return model.sem_seg_head(model.pixel_embeddings(image[None])[0], model.text_features(words))


@pytest.fixture
def regularize(model):
    """Gives the model a golden regularisation for one test."""
    head = model.sem_seg_head
    before = head.regularization

    def replace(kind, depth, activation):
        head.regularization = SpatialRegularization(kind, depth, activation).to(model.device)
        head.regularization.filter.load_state_dict(FILTER)

    yield replace
    head.regularization = before


def test_every_file_is_tested():
    files = {path.name for path in FOLDER.glob("lseg_*.npz")}
    assert files == {"lseg_vitl16.npz", "lseg_vitb32.npz", "lseg_vitl16_rn50x16.npz", "lseg_zero_shot.npz"}


@on("vitl16", marks=large)
class TestViTL16:
    def test_logits(self, model):
        check(logits(model, golden_image(480, 480))[:, ::4, ::4], "logits_arch0", "lseg_vitl16.npz")

    def test_other_size(self, model):
        check(logits(model, golden_image(320, 448, 3))[:, ::4, ::4], "logits_320x448", "lseg_vitl16.npz")

    def test_labels_of_the_call(self, model):
        words = Vocabulary.from_words(["a dog", "grass"])
        check(logits(model, golden_image(480, 480), words)[:, ::4, ::4], "logits_new_labels", "lseg_vitl16.npz")

    @pytest.mark.parametrize(
        ("entry", "block"), [("logits_arch1", ("bottleneck", 2, "lrelu")), ("logits_arch2", ("depthwise", 3, "tanh"))]
    )
    def test_regularization(self, model, regularize, entry, block):
        regularize(*block)
        check(logits(model, golden_image(480, 480))[:, ::4, ::4], entry, "lseg_vitl16.npz")

    def test_pixel_embeddings(self, model):
        with torch.inference_mode():
            maps = model.backbone(golden_image(480, 480)[None].float().to(model.device))
            pixels = model.sem_seg_head.decoder(maps)[0]
        check(pixels[::8, ::8, ::8], "pixel_embeddings", "lseg_vitl16.npz")

    def test_text_embeddings(self, model):
        with torch.inference_mode():
            text = model.text.encode_tokens(model.text.tokenize([words[0] for words in LABELS.entries]))
        check(text, "text_embeddings", "lseg_vitl16.npz")


@on("vitb32")
class TestViTB32:
    def test_logits(self, model):
        check(logits(model, golden_image(384, 480, 6))[:, ::4, ::4], "vitb32_logits", "lseg_vitb32.npz")

    def test_back_under_the_original_names(self, model, scratch):
        released = torch.load(scratch / "vitb32.ckpt", mmap=True)["model"]
        manifest = json.loads((FOLDER / "lseg_vitb32_state_dict.json").read_text())
        state = model.released_state()
        assert {name for name in manifest if not is_superfluous(name)} == state.keys()
        for name, value in state.items():
            assert list(value.shape) == manifest[name][1]
            assert torch.equal(value.cpu(), released[name]), name

    def test_loss_and_gradients(self, model):
        """Float64 decides kinks, so this does not hang on a CPU's rounding; see `kinks`."""
        golden = json.loads((FOLDER / "lseg_vitb32_gradients.json").read_text())
        kinks, model = Kinks(), copy.deepcopy(model)
        with kinks.deciding(), torch.no_grad():
            training_loss(copy.deepcopy(model).double())
        with kinks.following():
            loss = training_loss(model)
        assert float(loss.detach()) == pytest.approx(golden["loss"], rel=LSEG_OUTPUT_BUDGET)
        # What a ReLU sees is an output of the layers before it; a wrong one must not pass for an undecided one.
        for rounding, margin in zip(kinks.rounding, kinks.margins):
            assert rounding <= LSEG_OUTPUT_BUDGET * float(margin.abs().max())

        got = gradients(model, loss)
        frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
        assert frozen and all(name.startswith("text.") for name in frozen)
        expected = {ours(name): norm for name, norm in golden["gradient_norms"].items()}
        assert expected.keys() == got.keys()
        errors = {
            name: abs(float(got[name].norm(dtype=torch.float64)) / norm - 1)
            for name, norm in expected.items()
            if norm > GRADIENT_NOISE
        }
        beyond = [name for name, error in errors.items() if error > GRADIENT_NORM_BUDGET]
        if beyond:  # by more than kinks carry them that float32 cannot decide?
            kinks.flip()
            flipped = gradients(model, loss, beyond)
            undecided = {name: float((flipped[name].double() - got[name]).norm()) / expected[name] for name in beyond}
            for name in beyond:
                print(f"{name}: error {errors[name]:.1e}, undecided {undecided[name]:.1e}")
            assert not {name for name in beyond if errors[name] > GRADIENT_NORM_BUDGET + undecided[name]}


def training_loss(model):
    """Of the golden images and labels, with the regularisation of the golden gradients."""
    head = model.sem_seg_head
    head.regularization = SpatialRegularization("bottleneck", 2, "lrelu").to(model.text.text_projection)
    head.regularization.filter.load_state_dict(FILTER)
    images = [golden_image(384, 384, seed).to(model.text.text_projection.dtype) for seed in (1, 2)]
    labels = [label.to(model.device) for label in golden_labels()]
    return model.train().losses(images, labels, [LABELS, LABELS])["loss_sem_seg"]


def gradients(model, loss, wanted=None):
    names, parameters = zip(*((name, p) for name, p in model.named_parameters()
                              if p.requires_grad and (wanted is None or name in wanted)))  # fmt: skip
    return dict(zip(names, torch.autograd.grad(loss, parameters, retain_graph=True)))


def ours(name):
    from lseg.checkpoint import RULES
    from openvocab.checkpoint.rename import rename_state

    return next(iter(rename_state({name: torch.zeros(())}, RULES, (), "LSeg")))


@on("vitl16_rn50x16", marks=large)
def test_text_encoder_of_a_resnet_clip(model):
    check(logits(model, golden_image(352, 480, 8))[:, ::4, ::4], "logits", "lseg_vitl16_rn50x16.npz")


@pytest.mark.parametrize(
    ("model", "entry"),
    [("zs_resnet101", "zs_resnet101"), pytest.param("zs_vitl16", "zs_vitl16", marks=large)],
    indirect=["model"],
)
def test_zero_shot(model, entry):
    """Two images, each with two words of its own."""
    words = [Vocabulary.from_words(["others", name]) for name in ("bird", "aeroplane")]
    got = [logits(model, golden_image(480, 480, seed), own)[:, ::4, ::4] for seed, own in zip((4, 5), words)]
    check(torch.stack(got), entry, "lseg_zero_shot.npz")


def test_loss_ignores_unlabelled_pixels():
    labels = [torch.tensor([[0, 255], [1, 255]])]
    maps = [torch.tensor([[[2.0, 9.0], [0.0, -9.0]], [[0.0, -9.0], [1.0, 9.0]]])]
    expected = (torch.tensor([-2.0, -1.0]).exp() + 1).log().mean()
    assert float(segmentation_loss(maps, labels, 255)) == pytest.approx(float(expected))


def test_lightning_extras_are_read_without_running_them(tmp_path):
    """What else a Lightning file holds (callbacks, hyperparameters, loops) is plain data here; classes are refused."""
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"net.x": torch.ones(1)}, "hyper_parameters": {"lr": 0.1, "list": [1, None]}}, path)
    assert read_state(path).keys() == {"net.x"}
