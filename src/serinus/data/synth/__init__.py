"""The synthetic generator: satellite pairs in xBD format, made from a seed.

xBD may not be shipped; what Serinus shows and tests itself with is drawn here. Scores on it say nothing
about real pictures.
"""

from serinus.data.synth.scenery import Disaster
from serinus.data.synth.tile import Tile, png_pair, synth_tile
from serinus.data.synth.write import Labels, SynthSet, write_sets, write_zip, zip_bytes

__all__ = [
    "Disaster",
    "Labels",
    "SynthSet",
    "Tile",
    "png_pair",
    "synth_tile",
    "write_sets",
    "write_zip",
    "zip_bytes",
]
