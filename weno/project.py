"""The project folder: what is where, and every choice in a file a person can read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import tomlkit

from weno.atomic import replacing
from weno.errors import ProjectError, WenoError
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
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tomlkit import TOMLDocument

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
    class_names : (str, str)
        Negative and positive class, as shown to people.
    spec : TileSpec
    encoder : str
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.root = root
        self.name: str = settings["name"]
        negative, positive = settings["class_names"]
        self.class_names: tuple[str, str] = (negative, positive)
        self.encoder: str = settings["encoder"]
        self.spec = TileSpec.from_dict(settings["tiles"])
        self._rows: list[SlideRow] = []
        self._rows_time = -1

    def __repr__(self) -> str:
        return f"<Project {self.name!r} in {self.root}, {len(self.slides)} slides>"

    @classmethod
    def create(
        cls,
        root: str | Path,
        slides: str | Path,
        *,
        spec: TileSpec | None = None,
        encoder: str = "texture",
        name: str | None = None,
        class_names: tuple[str, str] = ("negative", "positive"),
    ) -> Self:
        """Make a project folder.

        Parameters
        ----------
        root : str or Path
            The folder; must not hold a project yet.
        slides : str or Path
            A CSV with the columns slide_id, path and, optionally, label,
            patient_id, split, mpp (relative paths resolve from the CSV), or a
            folder that is searched for slides.
        spec : TileSpec, optional
        encoder : str
        name : str, optional
            Name of the folder if not given.
        class_names : (str, str)
            Negative and positive class.

        Raises
        ------
        ProjectError
            If there is a project already, or the slides are wrong: all problems at
            once.
        """
        root, source = Path(root).resolve(), Path(slides).resolve()
        if (root / _SETTINGS).exists():
            raise ProjectError(f"{root} is a project already; choose another folder")
        table = root / _SLIDES
        if table.exists() and table != source:
            raise ProjectError(
                f"{table} is there already: give it as --slides, or move it away"
            )
        records = read_records(source) if source.is_file() else search_records(source)
        if not records:
            raise ProjectError(f"{source} lists no slide")
        check_rows(records, source, class_names)
        write_records(table, root, records)
        settings = _settings(
            name or root.name, class_names, encoder, spec or TileSpec()
        )
        with replacing(root / _SETTINGS) as path:
            path.write_text(tomlkit.dumps(settings), encoding="utf-8")
        return cls.open(root)

    @classmethod
    def open(cls, root: str | Path) -> Self:
        """Open a project folder.

        Raises
        ------
        ProjectError
            If the folder is no project, or project.toml or slides.csv is wrong.
        """
        root = Path(root).resolve()
        path = root / _SETTINGS
        if not path.is_file():
            raise ProjectError(
                f"{root} is not a project (it has no {_SETTINGS}); "
                "make one with: weno init PROJECT --slides CSV_OR_FOLDER"
            )
        try:
            settings = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
            _check_settings(settings)
            project = cls(root, settings)
        except (tomlkit.exceptions.ParseError, WenoError, ValueError) as error:
            raise ProjectError(f"{path}: {error}") from error
        _ = project.slides
        return project

    @property
    def slides(self) -> list[SlideRow]:
        """The lines of slides.csv, in its order; read anew when the file changes."""
        path = self.root / _SLIDES
        if not path.is_file():
            raise ProjectError(f"{path} is missing")
        time = path.stat().st_mtime_ns
        if time != self._rows_time:
            self._rows = check_rows(read_records(path), path, self.class_names)
            self._rows_time = time
        return self._rows

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
        return open_slide(row.path, mpp=row.mpp)

    def add_slide(self, path: str | Path, *, label: int | None = None) -> SlideRow:
        """Add a slide at the end of slides.csv; its id is the file's name.

        Returns
        -------
        SlideRow
            The new line, or the one the slide has already.

        Raises
        ------
        ProjectError
            If the slide is read from an address.
        """
        if is_address(str(path)):
            raise ProjectError(f"{path} is an address: {DOWNLOAD}")
        path = Path(path).resolve()
        for row in self.slides:
            if row.path == path:
                return row
        records = read_records(self.root / _SLIDES)
        taken = {row.slide_id.casefold() for row in self.slides}
        slide_id = free_id(path.stem, taken)
        records.append(
            {
                "slide_id": slide_id,
                "path": str(path),
                "label": "" if label is None else str(label),
            }
        )
        check_rows(records, self.root / _SLIDES, self.class_names)
        write_records(self.root / _SLIDES, self.root, records)
        return self.slide(slide_id)

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
        self.slide(slide_id)
        records = read_records(self.root / _SLIDES)
        for record in records:
            if record["slide_id"] == slide_id:
                record["mpp"] = f"{mpp:.9g}"
        check_rows(records, self.root / _SLIDES, self.class_names)
        write_records(self.root / _SLIDES, self.root, records)
        return self.slide(slide_id)

    @property
    def features_dir(self) -> Path:
        """Folder of the features of this encoder and tile spec."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.encoder).strip("-").lower()
        return self.root / "features" / f"{slug}-{self.spec.hash}"

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


def _settings(
    name: str, class_names: tuple[str, str], encoder: str, spec: TileSpec
) -> TOMLDocument:
    document = tomlkit.document()
    document.add("name", tomlkit.item(name))
    document.add(tomlkit.comment("Shown on screen: negative class, positive class."))
    document.add("class_names", tomlkit.item(list(class_names)))
    document.add(tomlkit.comment("What turns a tile into numbers."))
    document.add("encoder", tomlkit.item(encoder))
    tiles = tomlkit.table()
    tiles.comment("changing any of these needs a new extract")
    comments = {
        "tile_um": "side of a tile in µm",
        "mpp": "µm per pixel that the encoder sees",
        "stride_um": "µm from tile to tile; left out: side by side",
        "min_tissue": "smallest share of tissue in a tile, 0 to 1",
        "icc": "colours turned into sRGB by the slides' ICC profiles",
    }
    for key, value in spec.to_dict().items():
        if value is not None:
            tiles.add(key, tomlkit.item(value).comment(comments[key]))
    document.add("tiles", tiles)
    return document


def _check_settings(settings: Mapping[str, Any]) -> None:
    wanted = {"name": str, "class_names": list, "encoder": str, "tiles": dict}
    problems = [f"unknown key {key!r}" for key in settings if key not in wanted]
    for key, kind in wanted.items():
        if not isinstance(settings.get(key), kind):
            problems.append(f"{key} must be a {kind.__name__}: {settings.get(key)!r}")
    if not problems and len(settings["class_names"]) != 2:
        problems.append("class_names needs a negative and a positive class")
    if problems:
        raise ProjectError("; ".join(problems))
