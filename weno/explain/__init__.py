"""What a person wants to know of a prediction, without any window.

Which tiles to look at, whether the model was right where the truth is known, what all
slides of a patient come to, whether the slide is like those of the training, how two
runs differ, and pictures to hand on.
"""

from weno.explain.apart import SlideApart, slides_apart
from weno.explain.comparison import Comparison, compare
from weno.explain.familiar import Familiarity, familiarity_of
from weno.explain.figure import Bar, Figure, figure_svg
from weno.explain.outcomes import Outcome, Tally, outcomes_of, tally
from weno.explain.overlay_file import ColourScale, ExportReport, write_overlay
from weno.explain.patients import PatientReading, patient_reading
from weno.explain.ranking import COLUMNS, column_of, picked

__all__ = [
    "COLUMNS",
    "Bar",
    "ColourScale",
    "Comparison",
    "ExportReport",
    "Familiarity",
    "Figure",
    "Outcome",
    "PatientReading",
    "SlideApart",
    "Tally",
    "column_of",
    "compare",
    "familiarity_of",
    "figure_svg",
    "outcomes_of",
    "patient_reading",
    "picked",
    "slides_apart",
    "tally",
    "write_overlay",
]
