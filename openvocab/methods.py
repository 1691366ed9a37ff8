"""The table of methods. Standard library only: the build of the package reads it, too."""

from collections.abc import Mapping
from types import MappingProxyType

METHODS: Mapping[str, str] = MappingProxyType({"CATSeg": "catseg", "LSeg": "lseg"})
"""META_ARCHITECTURE -> module that registers it; `<module>.config` holds `add_<module>_config`."""
