"""Synthetic H&E-like slides of known truth, for the demo, sample data and tests.

A slide shows a piece of mucosa: stroma whose fibres flow, normal glands with lumen,
goblet cells and a palisade of nuclei, lymphoid follicles, fat, oedema; glass, dust,
folds and marker ink; a stain of its own. On positive slides, one to three *lesions*
take the place of that tissue: sheets of large, pleomorphic nuclei with clumped
chromatin and nucleoli, mitoses, and glands whose nuclei lie in disorder. Both stains
are scaled to the mean of the tissue around, so that a lesion differs by texture and
arrangement, hardly by colour.

The truth is the mask that the tumour was painted with; a cell of 128 px is positive
if at least half of it lies in that mask.

These slides show that the software works. They are no benchmark: tumour is drawn by
a few rules, all slides come from one hand, and a model that finds every lesion here
may find none in real tissue.
"""

from weno.synthetic.cohort import SyntheticReport, make_cohort
from weno.synthetic.scanner import write_slide
from weno.synthetic.slide import SlideRecipe, render_slide

__all__ = [
    "SlideRecipe",
    "SyntheticReport",
    "make_cohort",
    "render_slide",
    "write_slide",
]
