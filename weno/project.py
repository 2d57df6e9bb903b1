"""The project folder: what is where, and every choice in a file a person can read."""

from __future__ import annotations

import json
import re
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import tomlkit

from weno.atomic import replacing
from weno.classes import asked_class, class_problems, no_class, question
from weno.errors import ProjectError, RunError, SlideError, WenoError
from weno.project_file import RegionChoice, new_settings, read_settings
from weno.slide_file import SlideFile
from weno.slide_rows import (
    DOWNLOAD,
    SlideRow,
    check_rows,
    free_id,
    is_address,
    read_records,
    safe_name,
    search_records,
    write_records,
)
from weno.slides import open_slide
from weno.tiles import CLASSICAL, Outline, TileSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weno.slides import Slide

__all__ = ["Project", "SlideRow", "safe_name"]

_SETTINGS = "project.toml"
_SLIDES = "slides.csv"


class Project:
    """A folder with slides, features, runs, predictions and reviews.

    Use `Project.create` or `Project.open`.

    Attributes
    ----------
    root : Path
        The folder, absolute.
    name : str
    classes : tuple of str
        Names of all classes: negative and positive, or more than two.
    positive : str
        The class asked about, against all others.
    class_names : (str, str)
        Negative and positive class of this question, as shown to people.
    spec : TileSpec
    encoder : str
    tissue : str
        The model that finds tissue.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.root = root
        self.name: str = settings["name"]
        self.classes: tuple[str, ...] = tuple(settings["class_names"])
        self._ask(settings.get("positive", self.classes[-1]))
        self.encoder: str = settings["encoder"]
        self.spec = TileSpec.from_dict(settings["tiles"])
        self.tissue: str = settings.get("tissue", CLASSICAL)
        self._regions = RegionChoice(root / _SETTINGS)

    def _ask(self, positive: str) -> None:
        if positive not in self.questions:
            raise ProjectError(no_class(positive, self.questions))
        self.positive = positive
        self.class_names = question(self.classes, positive)
        # Labels are answers to the question.
        self._rows: list[SlideRow] = []
        self._rows_time = -1

    def __repr__(self) -> str:
        return f"<Project {self.name!r} in {self.root}>"

    @classmethod
    def create(
        cls,
        root: str | Path,
        slides: str | Path | Sequence[Mapping[str, str]],
        *,
        spec: TileSpec | None = None,
        encoder: str = "texture",
        tissue: str = CLASSICAL,
        name: str | None = None,
        class_names: Sequence[str] = ("negative", "positive"),
        positive: str | None = None,
        source: Path | None = None,
    ) -> Self:
        """Make a project folder.

        Parameters
        ----------
        root : str or Path
            The folder; must not hold a project yet.
        slides : str or Path
            A CSV with the columns slide_id, path and, optionally, label,
            patient_id, split, mpp (relative paths resolve from the CSV), or a
            folder that is searched for slides; or such lines as mappings, paths
            absolute.
        spec : TileSpec, optional
        encoder : str
        tissue : str
            The model that finds tissue.
        name : str, optional
            Name of the folder if not given.
        class_names : sequence of str
            Negative and positive class, or more than two.
        positive : str, optional
            Of more than two the one asked about; the last if not given.
        source : Path, optional
            Where lines that are mappings were read; may be slides.csv in the folder.

        Raises
        ------
        ProjectError
            If there is a project already, or the slides are wrong: all problems at
            once.
        """
        root = Path(root).resolve()
        if isinstance(slides, str | Path):
            source = Path(slides).resolve()
        table = cls.check_new(root, source)
        if problems := class_problems(tuple(class_names), positive):
            raise ProjectError("; ".join(problems))
        positive = positive or class_names[-1]
        if isinstance(slides, str | Path):
            records = _records_in(Path(slides).resolve())
        else:
            records = [dict(record) for record in slides]
        if not records:
            raise ProjectError(f"{source or 'the table'} lists no slide")
        check_rows(records, source or table, class_names, positive)
        write_records(table, root, records)
        settings = new_settings(
            name or root.name,
            class_names,
            positive,
            encoder=encoder,
            tissue=tissue,
            spec=spec or TileSpec(),
        )
        with replacing(root / _SETTINGS) as path:
            path.write_text(tomlkit.dumps(settings), encoding="utf-8")
        return cls.open(root)

    @staticmethod
    def check_new(root: Path, slides: str | Path | None) -> Path:
        """Return where the table of a new project goes, unless something is there.

        Raises
        ------
        ProjectError
            If there is a project, or a table other than `slides`.
        """
        if (root / _SETTINGS).exists():
            raise ProjectError(f"{root} is a project already; choose another folder")
        table = root / _SLIDES
        if table.exists() and (slides is None or table != Path(slides).resolve()):
            raise ProjectError(
                f"{table} is there already: give it as --slides, or move it away"
            )
        return table

    @classmethod
    def open(cls, root: str | Path, positive: str | None = None) -> Self:
        """Open a project folder.

        Parameters
        ----------
        root : str or Path
        positive : str, optional
            The class to ask about; that of project.toml if not given.

        Raises
        ------
        ProjectError
            If the folder is no project, project.toml or slides.csv is wrong, or there
            is no such class.
        """
        root = Path(root).resolve()
        path = root / _SETTINGS
        if not path.is_file():
            raise ProjectError(
                f"{root} is not a project (it has no {_SETTINGS}); "
                "make one with: weno init PROJECT --slides CSV_OR_FOLDER, or in napari "
                "with New… in the Cohort dock"
            )
        try:
            project = cls(root, read_settings(path))
        except (WenoError, ValueError) as error:
            raise ProjectError(f"{path}: {error}") from error
        if positive is not None:
            project._ask(positive)
        _ = project.slides
        return project

    @property
    def questions(self) -> tuple[str, ...]:
        """The classes that can be asked about; of two only the second."""
        return self.classes if len(self.classes) > 2 else self.classes[1:]

    def asking(self, positive: str) -> Self:
        """Return the same project with another question.

        Raises
        ------
        ProjectError
            If there is no such class.
        """
        other = copy(self)
        other._ask(positive)
        return other

    def asked_by(self, run: str) -> Self:
        """Return the same project with the question that a run was fitted for.

        Raises
        ------
        RunError
            If the run is not finished.
        ProjectError
            If its class is none of the project's.
        """
        if len(self.questions) == 1:
            return self
        positive = asked_class(self.run_dir(run))
        if positive is None:
            raise RunError(f"{self.run_dir(run)}: no card that says what it asks about")
        if positive not in self.questions:
            raise ProjectError(f"run {run!r}: {no_class(positive, self.questions)}")
        return self.asking(positive)

    def runs_asking(self) -> frozenset[str] | None:
        """Names of the finished runs with this question; None if it is the only one."""
        if len(self.questions) == 1:
            return None
        names = self.run_names()
        asked = {name: asked_class(self.runs_dir / name) for name in names}
        return frozenset(name for name in names if asked[name] == self.positive)

    @property
    def slides(self) -> list[SlideRow]:
        """The lines of slides.csv, in its order; read anew when the file changes."""
        path = self.root / _SLIDES
        if not path.is_file():
            raise ProjectError(f"{path} is missing")
        time = path.stat().st_mtime_ns
        if time != self._rows_time:
            self._rows = self._check(read_records(path))
            self._rows_time = time
        return self._rows

    @property
    def table(self) -> SlideFile:
        """The file slides.csv, to edit it."""
        return SlideFile(self.root / _SLIDES, self._check)

    def _check(self, records: list[dict[str, str]]) -> list[SlideRow]:
        return check_rows(records, self.root / _SLIDES, self.classes, self.positive)

    def slide(self, slide_id: str) -> SlideRow:
        """Return the line of one slide.

        Raises
        ------
        ProjectError
            If the project has no such slide.
        """
        for row in self.slides:
            if row.slide_id == slide_id:
                return row
        raise ProjectError(f"no slide {slide_id!r} in {self.root / _SLIDES}")

    def open_slide(self, slide_id: str) -> Slide:
        """Open a slide with the pixel size that slides.csv gives it."""
        row = self.slide(slide_id)
        if row.path is None:
            reason = f"no path in {self.root / _SLIDES}: fill it in to see the slide"
            raise SlideError(slide_id, reason)
        return open_slide(row.path, mpp=row.mpp)

    def add_slide(
        self, path: str | Path, *, label: int | str | None = None
    ) -> SlideRow:
        """Add a slide at the end of slides.csv; its id is the file's name.

        Parameters
        ----------
        path : str or Path
        label : int or str, optional
            1 or 0 as the answer to the question, or a class by its name.

        Returns
        -------
        SlideRow
            The new line, or the one the slide has already.

        Raises
        ------
        ProjectError
            If the slide is read from an address, or the label names no class: of
            more than two, 0 says only which it is not.
        """
        if is_address(str(path)):
            raise ProjectError(f"{path} is an address: {DOWNLOAD}")
        path = Path(path).resolve()
        for row in self.slides:
            if row.path == path:
                return row
        taken = {row.slide_id.casefold() for row in self.slides}
        slide_id = free_id(path.stem, taken)
        record = {"slide_id": slide_id, "path": str(path)}
        self.table.add([record | {"label": self._label_text(label)}])
        return self.slide(slide_id)

    def _label_text(self, label: int | str | None) -> str:
        if label is None or isinstance(label, str):
            return label or ""
        if len(self.classes) == 2:
            return str(label)
        if label == 1:
            return self.positive
        raise ProjectError(
            f"label {label} says only that a slide is {self.class_names[0]}: write its "
            f"class into {self.root / _SLIDES}, one of {', '.join(self.classes)}"
        )

    def set_mpp(self, slide_id: str, mpp: float) -> SlideRow:
        """Write the pixel size of a slide into slides.csv.

        Parameters
        ----------
        slide_id : str
        mpp : float
            Size of a level-0 pixel in µm.

        Returns
        -------
        SlideRow
            The line as it stands now.

        Raises
        ------
        ProjectError
            If the project has no such slide, or `mpp` is no pixel size.
        """
        self.table.edit({slide_id: {"mpp": f"{mpp:.9g}"}})
        return self.slide(slide_id)

    def outline(self, slide_id: str) -> Outline:
        """Return where on a slide tiles may lie; its files need not exist yet."""
        name = f"{safe_name(slide_id, 'slide')}.geojson"
        return Outline(
            self.root / "tissue" / name,
            self.tissue,
            self.root / "regions" / name,
            self._regions.inside,
            self._regions.outside,
        )

    @property
    def features_dir(self) -> Path:
        """Folder of the features of this encoder and tile spec."""
        return features_folder(self.root, self.encoder, self.spec)

    def features_path(self, slide_id: str) -> Path:
        """HDF5 file with the features of one slide."""
        return self.features_dir / f"{safe_name(slide_id, 'slide')}.h5"

    def failed_slides(self) -> dict[str, str]:
        """Slides whose extraction has failed, with the reason."""
        path = self.features_dir / "failures.json"
        try:
            failures: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return failures

    @property
    def runs_dir(self) -> Path:
        """Folder with one folder per run."""
        return self.root / "runs"

    def run_dir(self, name: str) -> Path:
        """Folder of one run, which need not exist yet."""
        return self.runs_dir / safe_name(name, "run")

    def run_names(self) -> list[str]:
        """Names of the runs, the newest last."""
        configs = self.runs_dir.glob("*/config.json")
        return [p.parent.name for p in sorted(configs, key=lambda p: p.stat().st_mtime)]

    def predictions_dir(self, run: str) -> Path:
        """Folder with the predictions of one run."""
        return self.root / "predictions" / safe_name(run, "run")

    def prediction_path(self, run: str, slide_id: str) -> Path:
        """Parquet file with the prediction of one run for one slide."""
        return self.predictions_dir(run) / f"{safe_name(slide_id, 'slide')}.parquet"

    @property
    def review_dir(self) -> Path:
        """Folder with the verdict files and the queues."""
        return self.root / "review"


def _records_in(source: Path) -> list[dict[str, str]]:
    return read_records(source) if source.is_file() else search_records(source)


def features_folder(root: Path, encoder: str, spec: TileSpec) -> Path:
    """Return the folder of a project for the features of an encoder and tile spec."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", encoder).strip("-").lower()
    return root / "features" / f"{slug}-{spec.hash}"
