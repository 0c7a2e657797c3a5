"""ISA-L, Intel's faster zlib, where it is installed: the one place that looks for it.

Where it is not, PNGs are read and written by OpenCV or Pillow alone; see
docs/adr/0048-pngs-are-inflated-by-isa-l.md.
"""

from typing import Any

igzip: Any
"""The inflater that tells where a stream ends; None without ISA-L."""
zlib: Any
"""The interface of Python's zlib; None without ISA-L."""

try:
    from isal import igzip_lib as igzip
    from isal import isal_zlib as zlib
except ModuleNotFoundError:
    igzip = zlib = None
