"""What a slide says of itself, its pixel size, colours and associated images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_weno.colours import profile_state, show_icc, shows_icc
from napari_weno.docks import listen, notifying, picture_of, text_label
from napari_weno.jobs import QuietJob

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    import numpy.typing as npt

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session
    from weno.slides import Slide

_SOURCES = {
    "given": "as given",
    "slide": "by the slide",
    "tiff": "by the resolution of the TIFF",
}
_NO_PROFILE = "This slide has no ICC profile that can be used"
#: Associated images that nobody writes names on.
_WITHOUT_NAMES = ("thumbnail",)
_LOWEST_MPP, _HIGHEST_MPP = 0.001, 1000.0
_PICTURE_PX = 280


class DetailsBox(QWidget):
    """Shows the details of the open slide; its pixel size can be corrected.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.facts = {name: text_label(name=name) for name in facts_of(None)}
        self.mpp = QDoubleSpinBox()
        self.use_mpp = QPushButton("Use")
        self.icc = QCheckBox("Colours by the slide's ICC profile")
        self.pictures = AssociatedImages()
        self._explain()
        self._lay_out()
        listen(self, session.slide_changed, self._on_slide)
        self.use_mpp.clicked.connect(self._set_mpp)
        self.icc.clicked.connect(self._set_icc)
        self._on_slide(session.opened)

    def enter_mpp(self) -> None:
        """Let the user type the pixel size."""
        self.mpp.setFocus()
        self.mpp.selectAll()

    def _explain(self) -> None:
        self.mpp.setDecimals(4)
        # The lowest value stands for none.
        self.mpp.setRange(0.0, _HIGHEST_MPP)
        self.mpp.setSpecialValueText("not known")
        self.mpp.setSingleStep(0.01)
        self.mpp.setSuffix(" µm")
        self.mpp.setToolTip("Size of a level-0 pixel in µm")
        self.use_mpp.setToolTip(
            "Use this pixel size; a slide of the project keeps it in slides.csv"
        )

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setSpacing(3)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        policy = QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        form.setFieldGrowthPolicy(policy)
        line = QHBoxLayout()
        line.addWidget(self.mpp, stretch=1)
        line.addWidget(self.use_mpp)
        for name, label in self.facts.items():
            form.addRow(name, label)
            if name == "Pixel size":
                form.addRow("Set it to", line)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.icc)
        layout.addWidget(self.pictures)

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        self.setVisible(opened is not None)
        slide = None if opened is None else opened.slide
        for name, text in facts_of(slide).items():
            self.facts[name].setText(text)
        self.pictures.show_slide(slide)
        if opened is None or slide is None:
            return
        self.mpp.setValue(slide.mpp[0] if slide.mpp else 0.0)
        profile = profile_state(slide) == "yes"
        self.icc.setEnabled(profile)
        self.icc.setChecked(profile and shows_icc(opened.layer))
        self.icc.setToolTip(
            "Show colours as the scanner meant them" if profile else _NO_PROFILE
        )

    def _set_mpp(self) -> None:
        # The Enter key sends the text first.
        self.mpp.interpretText()
        if self.mpp.value() < _LOWEST_MPP:
            show_error("a pixel size is a number of µm, such as 0.25")
            return
        with notifying():
            self._session.set_mpp(self.mpp.value())

    def _set_icc(self, on: bool) -> None:
        opened = self._session.opened
        if opened is None:
            return
        with notifying():
            show_icc(opened.layer, on)
        self.icc.setChecked(shows_icc(opened.layer))


class AssociatedImages(QWidget):
    """A button for each associated image, which shows it: never by itself.

    A label or a macro may carry a patient's name.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slide: Slide | None = None
        self._job = QuietJob(self)
        self._job.returned.connect(self._show)
        self._job.failed.connect(lambda error: show_error(str(error)))
        self.buttons: dict[str, QPushButton] = {}
        self.picture = QLabel()
        policy = QSizePolicy.Policy
        self.picture.setSizePolicy(policy.Ignored, policy.Fixed)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(3)
        self._layout.addWidget(self.picture)

    def show_slide(self, slide: Slide | None) -> None:
        """Offer the images of a slide; what was shown of another goes."""
        self._job.cancel()
        self._hide()
        self._slide = slide
        for button in self.buttons.values():
            self._layout.removeWidget(button)
            button.deleteLater()
        names = () if slide is None else slide.associated_names
        self.buttons = {name: self._button(name) for name in names}
        for place, button in enumerate(self.buttons.values()):
            self._layout.insertWidget(place, button)

    def _button(self, name: str) -> QPushButton:
        button = QPushButton()
        button.setCheckable(True)
        button.setMinimumWidth(1)
        button.setToolTip("Shown here only, until another slide is opened")
        button.clicked.connect(lambda on: self._load(name) if on else self._hide())
        button.toggled.connect(lambda on: button.setText(_button_text(name, on)))
        button.setText(_button_text(name, False))
        return button

    def _load(self, name: str) -> None:
        for other, button in self.buttons.items():
            button.setChecked(other == name)
        if self._slide is not None:
            self._job.run(_associated, self._slide, name)

    def _hide(self) -> None:
        self._job.cancel()
        self.picture.clear()
        self.picture.hide()

    def _show(self, pixels: npt.NDArray[np.uint8]) -> None:
        picture = picture_of(pixels).scaled(
            QSize(_PICTURE_PX, _PICTURE_PX),
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        self.picture.setPixmap(picture)
        self.picture.show()


def _button_text(name: str, shown: bool) -> str:
    if shown:
        return f"Hide {name}"
    warning = "" if name in _WITHOUT_NAMES else " (may show a patient's name)"
    return f"Show {name}{warning}"


def _associated(
    slide: Slide, name: str
) -> Generator[None, None, npt.NDArray[np.uint8]]:
    yield
    return slide.associated(name)


def facts_of(slide: Slide | None) -> dict[str, str]:
    """Say what a slide is, by headings; without a slide, the headings alone."""
    if slide is None:
        headings = ("File", "Vendor", "Objective", "Pixel size", "Size", "Levels")
        return dict.fromkeys((*headings, "Read by", "ICC profile"), "")
    height, width = slide.shape
    size = f"{height:,} x {width:,} px"
    if slide.mpp is not None:
        mm_y, mm_x = height * slide.mpp[0] / 1000, width * slide.mpp[1] / 1000
        size += f"\n{mm_y:.3g} x {mm_x:.3g} mm"
    levels = str(len(slide.downsamples))
    if len(slide.downsamples) > 1:
        shrunk = ", ".join(f"{downsample:.5g}" for downsample in slide.downsamples)
        levels += f", shrunk {shrunk} times"
    power = slide.objective_power
    return {
        "File": slide.path.name,
        "Vendor": slide.vendor,
        "Objective": "not known" if power is None else f"{power:g}x",
        "Pixel size": mpp_text(slide),
        "Size": size,
        "Levels": levels,
        "Read by": slide.reader,
        "ICC profile": profile_state(slide),
    }


def mpp_text(slide: Slide) -> str:
    """Say how large a pixel is, and who says so."""
    if slide.mpp is None:
        return "not known"
    y, x = slide.mpp
    size = f"{y:.4g} µm" if abs(y - x) < 1e-4 * y else f"{y:.4g} x {x:.4g} µm"
    if slide.mpp_source == "objective":
        return f"{size}: a guess from the {slide.objective_power:g}x objective"
    return f"{size}, {_SOURCES[slide.mpp_source or 'given']}"
