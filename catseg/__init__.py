"""CAT-Seg (arXiv 2303.11797) as a Detectron2 extension; importing it registers "CATSeg" and "CATSegHead"."""

from openvocab import preflight

preflight.check()  # what is missing is said in one line, with what installs it

# isort: split
from catseg.config import add_catseg_config
from catseg.head import CATSegHead
from catseg.meta_arch import CATSeg

__all__ = ["CATSeg", "CATSegHead", "add_catseg_config"]
