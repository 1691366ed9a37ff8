"""Every attribute of open_clip that is touched, by name: what has to be looked at before the pinned range is raised."""

import ast
from pathlib import Path

import open_clip
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("openvocab", "tools") for path in (ROOT / folder).rglob("*.py"))

MODULE = {
    "OPENAI_DATASET_MEAN",
    "OPENAI_DATASET_STD",
    "SimpleTokenizer",
    "add_model_config",
    "create_model",
    "get_model_config",
    "get_pretrained_cfg",
    "list_models",
    "list_pretrained_tags_by_model",
}
TOKENIZER = {"encode", "eot_token_id", "sot_token_id"}

# Parameters of a CLIP with one block per tower, as open_clip's checkpoints name them.
BLOCK = (
    "attn.in_proj_bias", "attn.in_proj_weight", "attn.out_proj.bias", "attn.out_proj.weight",
    "ln_1.bias", "ln_1.weight", "ln_2.bias", "ln_2.weight",
    "mlp.c_fc.bias", "mlp.c_fc.weight", "mlp.c_proj.bias", "mlp.c_proj.weight",
)  # fmt: skip
PARAMETERS = {
    "logit_scale", "positional_embedding", "text_projection", "token_embedding.weight",
    "ln_final.weight", "ln_final.bias",
    "visual.class_embedding", "visual.positional_embedding", "visual.proj", "visual.conv1.weight",
    "visual.ln_pre.weight", "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias",
    *(f"transformer.resblocks.0.{name}" for name in BLOCK),
    *(f"visual.transformer.resblocks.0.{name}" for name in BLOCK),
}  # fmt: skip


def attributes(name: str) -> set[str]:
    """Attributes read off a name or off `self.<name>` anywhere in the sources."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (name, f"self.{name}"):
                found.add(node.attr)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == name:
                found |= {alias.name for alias in node.names}
    return found


def test_what_is_touched_is_listed():
    assert attributes("open_clip") == MODULE
    assert attributes("tokenizer") == TOKENIZER


@pytest.mark.parametrize("name", sorted(MODULE))
def test_the_module_has_it(name):
    assert hasattr(open_clip, name)


def test_the_tokenizer_has_it():
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    assert [name for name in TOKENIZER if not hasattr(tokenizer, name)] == []
    assert (tokenizer.sot_token_id, tokenizer.eot_token_id) == (49406, 49407)
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


def test_tags_know_their_activation():
    """OpenAI's weights need QuickGELU; the tag says so, and the name of the model must fit."""
    assert "openai" in open_clip.list_pretrained_tags_by_model("ViT-B-16-quickgelu")
    assert open_clip.get_pretrained_cfg("ViT-B-16-quickgelu", "openai")["quick_gelu"] is True
    assert open_clip.get_model_config("ViT-B-16-quickgelu")["quick_gelu"] is True
    assert not open_clip.get_model_config("ViT-B-16").get("quick_gelu", False)


def test_checkpoints_name_their_parameters_like_this():
    vision = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    with torch.device("meta"):
        model = open_clip.CLIP(8, vision, text)
    assert {name for name, _ in model.named_parameters()} == PARAMETERS
