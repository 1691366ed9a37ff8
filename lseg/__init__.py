"""LSeg (arXiv 2201.03546) as a Detectron2 extension; importing it registers "LSeg" and "LSegHead"."""

from openvocab import preflight

preflight.check()  # what is missing is said in one line, with what installs it

# isort: split
from lseg.config import add_lseg_config
from lseg.head import LSegHead
from lseg.meta_arch import LSeg

__all__ = ["LSeg", "LSegHead", "add_lseg_config"]
