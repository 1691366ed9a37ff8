"""EmojiScapes: a small world of emoji drawings on textures, in which everything can be learned and measured offline.

Drawing needs neither torch nor Detectron2; `register.py`, which does, is not imported here.
"""

from .scenes import Scene, compose, render_scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World, world

__all__ = [
    "HELD_OUT_STYLE",
    "TRAIN_STYLES",
    "Scene",
    "World",
    "compose",
    "render_scene",
    "world",
]
