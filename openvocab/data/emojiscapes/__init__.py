"""EmojiScapes: a small world of emoji drawings on textures, in which everything can be learned and measured offline."""

from .scenes import Scene, render_scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World, world

__all__ = ["HELD_OUT_STYLE", "TRAIN_STYLES", "Scene", "World", "render_scene", "world"]
