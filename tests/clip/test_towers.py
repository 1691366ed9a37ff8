"""CLIP's towers against open_clip's own, which computes the ordinary model from the same weights."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F

from openvocab.clip.build import build_clip, from_open_clip
from openvocab.clip.finetune import set_trainable
from openvocab.clip.image_encoder import resize_positions
from openvocab.clip.spec import clip_spec, own_configs
from openvocab.clip.weights import expand_token_table, pack_token_table, read_state
from openvocab.vocab.templates import TEMPLATES
from openvocab.vocab.vocabulary import Vocabulary

NAME = "emojiscapes-vit-s8"
WORDS = Vocabulary.from_words(["cat", "sofa|couch", "swimming pool"])


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return open_clip.CLIP(**json.loads(own_configs()[NAME].read_text())).eval()


@pytest.fixture(scope="module")
def file(original, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in original.state_dict().items()}}, path)
    return path


@pytest.fixture(scope="module")
def clip(file):
    return build_clip(NAME, str(file)).eval()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_text_equals_open_clip_at_full_context(original, clip):
    words = ["cat", "sofa", "couch", "swimming pool"]
    prompts = [template.format(word) for template in TEMPLATES["imagenet_select"] for word in words]
    tokens = open_clip.SimpleTokenizer(context_length=16)(prompts)
    want = original.encode_text(tokens, normalize=True).unflatten(0, (8, 4))
    got = clip.text(WORDS, TEMPLATES["imagenet_select"]).embeddings
    assert got.shape == (3, 8, 128)
    close(got[0], want[:, 0])
    close(got[1], F.normalize((want[:, 1] + want[:, 2]) / 2, dim=-1))
    first = clip.text(WORDS.with_synonyms("first"), TEMPLATES["imagenet_select"]).embeddings
    close(first[1], want[:, 1])


@torch.no_grad()
def test_taps_equal_open_clip(original, clip):
    images = torch.randn(2, 3, 64, 64)
    want = original.visual.forward_intermediates(images, indices=[1, 4], intermediates_only=True)["image_intermediates"]
    features = clip.visual(images, (1, 4))
    assert features.dense.shape == (2, 128, 8, 8)
    for got, expected in zip(features.taps, want):
        close(got, expected)
    close(clip.visual(images, (4, 1)).taps[1], want[0])


@torch.no_grad()
def test_dense_last_block_as_written(original, clip):
    """Values without mixing; the residual of every token is the class token's input."""
    images = torch.randn(1, 3, 64, 64)
    seen = []
    original.visual.transformer.resblocks[5].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    original.visual(images)
    block, x = original.visual.transformer.resblocks[5], seen[0]
    weight, bias = block.attn.in_proj_weight[-192:], block.attn.in_proj_bias[-192:]
    y = block.attn.out_proj(F.linear(block.ln_1(x), weight, bias)) + x[:, :1]
    y = y + block.mlp(block.ln_2(y))
    want = original.visual.ln_post(y) @ original.visual.proj
    tokens, _ = clip.visual.dense_tokens(images)
    close(tokens, want)


@torch.no_grad()
def test_any_grid(clip):
    features = clip.visual(torch.randn(1, 3, 72, 104), (0,))
    assert features.dense.shape == (1, 128, 9, 13)
    assert features.taps[0].shape == (1, 192, 9, 13)


def test_positions():
    table = torch.arange(5.0)[:, None].repeat(1, 3)
    assert resize_positions(table, 2, 2) is table
    resized = resize_positions(table, 4, 6)
    assert torch.equal(resized[0], table[0])
    want = F.interpolate(table[1:].T.reshape(1, 3, 2, 2), size=(4, 6), mode="bicubic", align_corners=False)
    assert torch.equal(resized[1:], want[0].flatten(1).T)


@pytest.mark.parametrize(("height", "taps"), [(65, ()), (64, (5,)), (64, (-1,))])
def test_image_errors(clip, height, taps):
    with pytest.raises(ValueError, match="images: got|taps: got"):
        clip.visual(torch.zeros(1, 3, height, 64), taps)


def test_normalize(clip):
    grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    mean, std = (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.3231630)
    want = torch.tensor([(128 - m) / s for m, s in zip(mean, std)])
    torch.testing.assert_close(clip.visual.normalize(grey)[:, 0, 0], want, rtol=1e-6, atol=1e-6)


def test_too_long_a_word_is_named(clip):
    with pytest.raises(ValueError, match="expected at most 16: 'antidis"):
        clip.text(Vocabulary.from_words(["antidis establish " * 9]), TEMPLATES["bare"])


@torch.no_grad()
def test_cache_is_keyed(file, monkeypatch):
    clip = build_clip(NAME, str(file)).eval()
    calls, encode = [], clip.text.encode_tokens
    monkeypatch.setattr(clip.text, "encode_tokens", lambda rows: calls.append(len(rows)) or encode(rows))
    first = clip.text(WORDS, TEMPLATES["bare"]).embeddings
    assert clip.text(WORDS, TEMPLATES["bare"]).embeddings is first
    assert len(calls) == 1
    clip.text(WORDS, TEMPLATES["single"])
    clip.text(WORDS.with_synonyms("first"), TEMPLATES["bare"])
    clip.text(Vocabulary.from_words(["dog"]), TEMPLATES["bare"])
    assert len(calls) == 4
    clip.text.token_embedding.weight.mul_(2)
    changed = clip.text(WORDS, TEMPLATES["bare"]).embeddings
    assert len(calls) == 5
    assert not torch.equal(changed, first)
    clip.text.train().eval()
    clip.text(WORDS, TEMPLATES["bare"])
    assert len(calls) == 6
    assert clip.text.to(torch.float64)(WORDS, TEMPLATES["bare"]).embeddings.dtype == torch.float64


def test_gradients_are_never_cached(clip):
    assert clip.text(WORDS, TEMPLATES["bare"]).embeddings.requires_grad
    assert clip.text(WORDS, TEMPLATES["bare"]).embeddings.requires_grad


def test_unknown_words(file):
    clip = build_clip(NAME, str(file))
    assert clip.text.unknown_words(WORDS) == []
    (couch,) = clip.text.tokenize(["couch"])[0][1:-1]
    with torch.no_grad():
        clip.text.token_embedding.weight[couch] = 0
    assert clip.text.unknown_words(WORDS) == ["couch"]
    assert clip.text.unknown_words(WORDS.with_synonyms("first")) == []


@pytest.mark.parametrize("mode", ["attention", "full", "none"])
def test_what_is_trainable_gets_a_gradient(file, mode):
    clip = build_clip(NAME, str(file))
    set_trainable(clip, mode)
    trainable = {name for name, p in clip.named_parameters() if p.requires_grad}
    count = {"attention": 2 * (6 + 3) - 1, "none": 0, "full": len(list(clip.parameters())) - 3}[mode]
    assert len(trainable) == count
    if mode != "none":
        features = clip.visual(torch.randn(1, 3, 64, 64), (1,))
        value = features.dense.square().sum() + clip.text(WORDS, TEMPLATES["bare"]).embeddings[..., 0].sum()
        value.backward()
    assert {name for name, p in clip.named_parameters() if p.grad is not None} == trainable


def test_finetune_error(clip):
    with pytest.raises(ValueError, match="'prompt', expected one of"):
        set_trainable(clip, "prompt")


@pytest.mark.parametrize(("name", "sizes"), [
    ("ViT-B-16-quickgelu", (768, 12, 12, 512, 16, True)),
    ("ViT-L-14-336-quickgelu", (1024, 24, 16, 768, 14, True)),
    ("ViT-H-14", (1280, 32, 16, 1024, 14, False)),
    ("ViT-bigG-14", (1664, 48, 16, 1280, 14, False)),
    (NAME, (192, 6, 3, 128, 8, False)),
])  # fmt: skip
def test_spec(name, sizes):
    spec = clip_spec(name)
    assert (spec.width, spec.layers, spec.heads, spec.embed_dim, spec.patch_size, spec.quick_gelu) == sizes
    assert spec.mlp_width == (8192 if "bigG" in name else 4 * spec.width)


@pytest.mark.parametrize(("name", "message"), [
    ("ViT-B-16-quickgulu", "ViT-B-16-quickgelu"),
    ("RN50", "plain CLIP"),
    ("ViT-B-16-SigLIP", "timm_model_name"),
])  # fmt: skip
def test_spec_errors(name, message):
    with pytest.raises(ValueError, match=message):
        clip_spec(name)


@pytest.mark.parametrize(("name", "pretrained", "error", "message"), [
    (NAME, "no/such/file.pt", ValueError, "no such file: no/such/file.pt"),
    (NAME, "openai", ValueError, "expected a file or one of"),
    ("ViT-B-16", "openai", ValueError, "expected MODEL.CLIP.NAME ViT-B-16-quickgelu"),
])  # fmt: skip
def test_build_errors(name, pretrained, error, message):
    with torch.device("meta"), pytest.raises(error, match=message):
        build_clip(name, pretrained)


def test_files_that_do_not_fit(file, tmp_path):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="broken.pt is"):
        build_clip(NAME, str(broken))
    state = read_state(file)
    state.pop("ln_final.bias")
    torch.save(state, broken)
    with pytest.raises(ValueError, match="text.ln_final.bias"):
        build_clip(NAME, str(broken))
    torch.save({"epoch": 3}, broken)
    with pytest.raises(ValueError, match="holds no state dict"):
        build_clip(NAME, str(broken))


def test_half_precision_and_sparse_token_table(file, tmp_path):
    state = {name: value.half() for name, value in read_state(file).items()}
    state["token_embedding.weight"][1000:] = 0
    packed = pack_token_table(state)
    assert "token_embedding.weight" not in packed
    assert len(packed["token_embedding.rows"]) == 1000
    restored = expand_token_table(packed, 49408)
    assert restored.keys() == state.keys()
    assert torch.equal(restored["token_embedding.weight"], state["token_embedding.weight"])
    torch.save(packed, tmp_path / "packed.pt")
    clip = build_clip(NAME, str(tmp_path / "packed.pt"))
    assert torch.equal(clip.text.token_embedding.weight, state["token_embedding.weight"].float())


@pytest.mark.parametrize("rows", [[0, 7], [-1, 1], [1]])
def test_sparse_token_table_errors(rows):
    state = {"a.token_embedding.rows": torch.tensor(rows), "a.token_embedding.values": torch.ones(2, 3)}
    with pytest.raises(ValueError, match="a.token_embedding"):
        expand_token_table(state, 7)


def test_from_open_clip_splits_attention(original):
    ours = from_open_clip(original.state_dict())
    fused = original.transformer.resblocks[0].attn.in_proj_weight
    prefix = "text.transformer.resblocks.0.attn."
    assert torch.equal(torch.cat([ours[prefix + f"{letter}_proj_weight"] for letter in "qkv"]), fused)
