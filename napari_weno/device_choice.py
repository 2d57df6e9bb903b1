"""Choosing what a fit runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QWidget

from napari_weno.docks import may_shrink
from napari_weno.preferences import preferences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weno.mil.devices import Device


class DeviceChoice(QComboBox):
    """The devices there are; the one that is chosen stays when others come or go.

    The one of the preferences is chosen to begin with, if it turns out to be there.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        may_shrink(self)
        self.addItem("automatic", "auto")
        preferred = preferences("training").device.strip()
        if preferred not in ("", "auto"):
            self.addItem(preferred, preferred)
            self.setCurrentIndex(1)
        self.setToolTip("Where to compute; automatic takes the GPU if there is one")

    def offer(self, devices: Sequence[Device]) -> None:
        """Offer devices, and say how each one stands."""
        names = [device.name for device in devices]
        if names != [self.itemData(row) for row in range(self.count())]:
            chosen = self.currentData()
            self.clear()
            for name in names:
                self.addItem(name, name)
            self.setCurrentIndex(max(0, self.findData(chosen)))
        for row, device in enumerate(devices):
            self.setItemText(row, device.text)
