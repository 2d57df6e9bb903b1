"""A form for a dataclass, made from its fields and their metadata alone.

A field's type chooses the editor: bool, int, float, str, a `Literal`, or any of
these with ``| None``. Its metadata may say ``label``, ``help``, ``limits``, ``unit``
and ``advanced``.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import form_layout, may_shrink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_INT_MAX = 2**31 - 1
_FLOAT_MAX = 1e12
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What a form shows for one field.

    Parameters
    ----------
    name : str
    label : str
    tooltip : str
    kind : type
        bool, int, float or str.
    choices : tuple
        The only values there are; empty if all are allowed.
    limits : (float, float) or None
        Smallest and largest value.
    unit : str
        Shown behind a number.
    optional : bool
        Whether it may be None.
    advanced : bool
        Whether it is hidden until asked for.
    """

    name: str
    label: str
    tooltip: str
    kind: type
    choices: tuple[Any, ...]
    limits: tuple[float, float] | None
    unit: str
    optional: bool
    advanced: bool


def describe(cls: type) -> list[FieldSpec]:
    """Return what a form shows for each field of a dataclass.

    Raises
    ------
    TypeError
        If there is no editor for the type of a field.
    """
    hints = get_type_hints(cls)
    return [_describe(item, hints[item.name]) for item in dataclasses.fields(cls)]


def _describe(item: dataclasses.Field[Any], hint: Any) -> FieldSpec:
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        (hint,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else hint
    if kind not in (bool, int, float, str):
        raise TypeError(f"no editor for field {item.name} of type {hint}")
    metadata = item.metadata
    limits = metadata.get("limits")
    tooltip = str(metadata.get("help", ""))
    if limits:
        tooltip = f"{tooltip} ({limits[0]:g} to {limits[1]:g})"
    return FieldSpec(
        name=item.name,
        label=metadata.get("label") or item.name.replace("_", " ").capitalize(),
        tooltip=f"{tooltip}\n{item.name}".strip(),
        kind=kind,
        choices=choices,
        limits=limits,
        unit=str(metadata.get("unit", "")),
        optional=optional,
        advanced=bool(metadata.get("advanced", False)),
    )


class NumberBox(QDoubleSpinBox):
    """Edits a float without rounding it: 1e-07 stays 1e-07."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDecimals(_DECIMALS)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:
        """Write as few digits as are needed."""
        return f"{value:.{_DECIMALS}g}"

    def valueFromText(self, text: str | None) -> float:
        """Read what Python reads."""
        return float((text or "").removesuffix(self.suffix()) or 0)

    def validate(self, text: str | None, pos: int) -> tuple[QValidator.State, str, int]:
        """Accept numbers within the limits, and what may become one."""
        text = text or ""
        number = text.removesuffix(self.suffix())
        try:
            inside = self.minimum() <= float(number) <= self.maximum()
        except ValueError:
            inside = False
            if set(number) - set("0123456789.eE+-"):
                return QValidator.State.Invalid, text, pos
        state = QValidator.State
        return state.Acceptable if inside else state.Intermediate, text, pos


def make_editor(spec: FieldSpec) -> QWidget:
    """Make the widget that edits a field that is not None."""
    if spec.choices:
        combo = QComboBox()
        may_shrink(combo)
        for choice in spec.choices:
            combo.addItem(str(choice), choice)
        return combo
    if spec.kind is bool:
        return QCheckBox()
    if spec.kind is str:
        return QLineEdit()
    if spec.kind is int:
        low, high = spec.limits or (-_INT_MAX, _INT_MAX)
        spin = QSpinBox()
        spin.setSuffix(_suffix(spec))
        spin.setRange(int(max(low, -_INT_MAX)), int(min(high, _INT_MAX)))
        return spin
    number = NumberBox()
    number.setSuffix(_suffix(spec))
    number.setRange(*(spec.limits or (-_FLOAT_MAX, _FLOAT_MAX)))
    return number


def _suffix(spec: FieldSpec) -> str:
    return f" {spec.unit}" if spec.unit else ""


def _read(editor: QWidget) -> Any:
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, QComboBox):
        return editor.currentData()
    if isinstance(editor, QLineEdit):
        return editor.text()
    return editor.value()


def _write(editor: QWidget, value: Any) -> None:
    if isinstance(editor, QCheckBox):
        editor.setChecked(value)
    elif isinstance(editor, QComboBox):
        if editor.findData(value) < 0:
            editor.addItem(str(value), value)
        editor.setCurrentIndex(editor.findData(value))
    elif isinstance(editor, QLineEdit):
        editor.setText(value)
    else:
        editor.setValue(value)


class FieldEditor(QWidget):
    """Edits one field, None included.

    Parameters
    ----------
    spec : FieldSpec
    """

    #: The value is another one.
    changed = Signal()

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor = make_editor(spec)
        self.given = QCheckBox()
        self.given.setVisible(spec.optional)
        self.given.setChecked(True)
        self.given.setToolTip("Off: decided automatically")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.given)
        layout.addWidget(self.editor, stretch=1)
        self.editor.setToolTip(spec.tooltip)
        self.given.toggled.connect(self.editor.setEnabled)
        for signal in (self.given.toggled, _changed_signal(self.editor)):
            signal.connect(lambda *_: self.changed.emit())

    def value(self) -> Any:
        """Return the value; None if it is switched off."""
        return _read(self.editor) if self.given.isChecked() else None

    def set_value(self, value: Any) -> None:
        """Show a value."""
        self.given.setChecked(value is not None)
        if value is not None:
            _write(self.editor, value)


def _changed_signal(editor: QWidget) -> Any:
    if isinstance(editor, QCheckBox):
        return editor.toggled
    if isinstance(editor, QComboBox):
        return editor.currentIndexChanged
    if isinstance(editor, QLineEdit):
        return editor.textChanged
    return editor.valueChanged


class DataclassForm(QWidget, Generic[T]):
    """Edits a dataclass: basic fields at once, advanced ones when asked for.

    Parameters
    ----------
    value : dataclass instance
        What is shown first.
    choices : mapping of str to sequence of str, optional
        Known values of fields whose type allows any; `offer` adds more.
    """

    #: Some value is another one.
    changed = Signal()

    def __init__(
        self,
        value: T,
        choices: Mapping[str, Sequence[str]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._class = type(value)
        known = choices or {}
        specs = [
            replace(spec, choices=tuple(known.get(spec.name, spec.choices)))
            for spec in describe(self._class)
        ]
        self.editors = {spec.name: FieldEditor(spec) for spec in specs}
        self.more = QToolButton()
        self.advanced = QWidget()
        self._lay_out(specs)
        self.set_value(value)
        for editor in self.editors.values():
            editor.changed.connect(self.changed)

    def value(self) -> T:
        """Return what the form shows.

        Raises
        ------
        Exception
            Whatever the dataclass raises where fields do not go together.
        """
        values = {name: editor.value() for name, editor in self.editors.items()}
        return self._class(**values)

    def set_value(self, value: T) -> None:
        """Show other values."""
        for name, editor in self.editors.items():
            editor.set_value(getattr(value, name))

    def offer(self, name: str, choices: Sequence[str]) -> None:
        """Let a field be chosen among some more values."""
        editor = self.editors[name].editor
        if isinstance(editor, QComboBox):
            for choice in choices:
                if editor.findData(choice) < 0:
                    editor.addItem(choice, choice)

    def add_rows(self, rows: Mapping[str, QWidget]) -> None:
        """Put other widgets above the fields, in line with them."""
        for k, (label, widget) in enumerate(rows.items()):
            self._basic.insertRow(k, label, widget)

    def set_editable(self, editable: bool) -> None:
        """Allow or forbid changes of the fields; added rows are left alone."""
        for editor in self.editors.values():
            editor.setEnabled(editable)

    def _lay_out(self, specs: Sequence[FieldSpec]) -> None:
        self.more.setText("Advanced settings")
        self.more.setToolTip("The defaults were measured; change one at a time")
        self.more.setCheckable(True)
        self.more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more.toggled.connect(self._show_advanced)
        basic = QWidget()
        self._basic = _rows(basic)
        rows = {False: self._basic, True: _rows(self.advanced)}
        for spec in specs:
            rows[spec.advanced].addRow(spec.label, self.editors[spec.name])
            label = rows[spec.advanced].labelForField(self.editors[spec.name])
            if label is not None:
                label.setToolTip(spec.tooltip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(basic)
        layout.addWidget(self.more)
        layout.addWidget(self.advanced)
        self.more.setVisible(any(spec.advanced for spec in specs))
        self._show_advanced(shown=False)

    def _show_advanced(self, shown: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow
        self.more.setArrowType(arrow)
        self.advanced.setVisible(shown)


def _rows(widget: QWidget) -> QFormLayout:
    form = form_layout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    return form
