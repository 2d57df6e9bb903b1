"""WENO on whole-slide images: the headless core of napari-weno.

Data flows one way: slides, tiles, features, mil, review. Import what you need
from the stage that owns it (``from weno.slides import open_slide``); this module
exports nothing so that opening a slide never loads a deep-learning library.
"""

__version__ = "0.1.0"
