"""The experiments of the works that this project follows, each a function that returns a `Finding`.

The notebooks call these functions and show what they return; `benchmarks/studies.py` calls them at full size.
"""

from arbstyle.studies.finding import Finding, Table
from arbstyle.studies.reconstruction import content_reconstruction
from arbstyle.studies.texture import texture_synthesis
from arbstyle.studies.transfer import style_transfer_grid, transfer_starts, transfer_variants

__all__ = [
    "Finding",
    "Table",
    "content_reconstruction",
    "style_transfer_grid",
    "texture_synthesis",
    "transfer_starts",
    "transfer_variants",
]
