"""EmojiScapes: a small world of emoji drawings on textures, in which everything can be learned and measured offline."""

from .register import register_emojiscapes
from .scenes import Scene, compose, render_scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World, world

__all__ = [
    "HELD_OUT_STYLE",
    "TRAIN_STYLES",
    "Scene",
    "World",
    "compose",
    "register_emojiscapes",
    "render_scene",
    "world",
]
