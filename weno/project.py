"""The project folder: what is where, and every choice in a file a person can read."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import tomlkit

from weno.atomic import replacing
from weno.errors import ProjectError, WenoError
from weno.slides import open_slide, slides_in
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tomlkit import TOMLDocument

    from weno.slides import Slide

_SETTINGS = "project.toml"
_SLIDES = "slides.csv"
_COLUMNS = ("slide_id", "path", "label", "patient_id", "split", "mpp")
_SPLITS = ("train", "val", "test")

# A scheme and a slash, of which a `Path` keeps one; a single letter is a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:[/\\]")
_DOWNLOAD = (
    "a project may come from anybody, so it reads files only; download the slide"
)

# An id becomes a file name: no separator, no leading dot, nothing a file system bends.
_ID = re.compile(r"[^\W_][\w.\- +()]{0,119}")


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One line of slides.csv.

    Parameters
    ----------
    slide_id : str
        Unique; also the name of the slide's files in the project.
    path : Path
        The slide, absolute.
    label : int or None
        1 for the positive class, 0 for the negative one, None if not known.
    patient_id : str
        Slides of one patient stay in one split; the slide's id if not given.
    split : str or None
        ``"train"``, ``"val"`` or ``"test"``, None to let the fit decide.
    mpp : float or None
        Size of a level-0 pixel in µm; wins over what the slide says.
    """

    slide_id: str
    path: Path
    label: int | None
    patient_id: str
    split: str | None
    mpp: float | None


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
        records = _records(source) if source.is_file() else _search(source)
        if not records:
            raise ProjectError(f"{source} lists no slide")
        _check_rows(records, source, class_names)
        _write_records(table, root, records)
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
            self._rows = _check_rows(_records(path), path, self.class_names)
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
        if _is_address(str(path)):
            raise ProjectError(f"{path} is an address: {_DOWNLOAD}")
        path = Path(path).resolve()
        for row in self.slides:
            if row.path == path:
                return row
        records = _records(self.root / _SLIDES)
        taken = {row.slide_id.casefold() for row in self.slides}
        slide_id = _free_id(path.stem, taken)
        records.append(
            {
                "slide_id": slide_id,
                "path": str(path),
                "label": "" if label is None else str(label),
            }
        )
        _check_rows(records, self.root / _SLIDES, self.class_names)
        _write_records(self.root / _SLIDES, self.root, records)
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
        records = _records(self.root / _SLIDES)
        for record in records:
            if record["slide_id"] == slide_id:
                record["mpp"] = f"{mpp:.9g}"
        _check_rows(records, self.root / _SLIDES, self.class_names)
        _write_records(self.root / _SLIDES, self.root, records)
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


def _records(path: Path) -> list[dict[str, str]]:
    """Read a CSV as it stands, unknown columns included."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            records = [
                {k: (v or "").strip() for k, v in r.items() if k} for r in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProjectError(f"{path} is not a CSV in UTF-8: {error}") from error
    missing = {"slide_id", "path"} - set(reader.fieldnames or ())
    if missing:
        raise ProjectError(f"{path}: no column {', '.join(sorted(missing))}")
    for record in records:
        if not _is_address(record["path"]):
            record["path"] = str((path.parent / record["path"]).resolve())
    return records


def _is_address(path: str) -> bool:
    """Tell whether a path is one of the network; opening one must be a user's wish."""
    return _ADDRESS.match(path) is not None


def _search(folder: Path) -> list[dict[str, str]]:
    if not folder.is_dir():
        raise ProjectError(f"{folder} is neither a CSV file nor a folder")
    found = sorted(slides_in(folder))
    if not found:
        raise ProjectError(f"no slide found in {folder}")
    records, taken = [], set[str]()
    for path in found:
        slide_id = _free_id(path.stem, taken)
        taken.add(slide_id.casefold())
        records.append({"slide_id": slide_id, "path": str(path), "label": ""})
    return records


def _write_records(path: Path, root: Path, records: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(key for record in records for key in record))
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for record in records:
            slide = Path(record["path"])
            # A slide inside the project moves with it; others stay where they are.
            inside = slide.is_relative_to(root)
            shown = slide.relative_to(root).as_posix() if inside else str(slide)
            writer.writerow(record | {"path": shown})


def _check_rows(
    records: Iterable[Mapping[str, str]], source: Path, class_names: tuple[str, str]
) -> list[SlideRow]:
    """Turn records into rows, or name all that is wrong with them at once."""
    labels = {"": None, "0": 0, "1": 1} | {n: k for k, n in enumerate(class_names)}
    rows, problems, seen = [], [], set[str]()
    for line, record in enumerate(records, start=2):
        values = {column: record.get(column, "") for column in _COLUMNS}
        slide_id, label, split = values["slide_id"], values["label"], values["split"]
        if not _ID.fullmatch(slide_id) or slide_id.endswith((".", " ")):
            problems.append(f"line {line}: {slide_id!r} cannot be a file name")
        # Names that differ in case alone are one file on many systems.
        if slide_id.casefold() in seen:
            problems.append(f"line {line}: slide_id {slide_id!r} is there twice")
        seen.add(slide_id.casefold())
        if _is_address(values["path"]):
            problems.append(f"line {line}: {values['path']} is an address: {_DOWNLOAD}")
        if label not in labels:
            known = ", ".join(filter(None, labels))
            problems.append(f"line {line}: label {label!r} is none of {known}")
        if split and split not in _SPLITS:
            problems.append(f"line {line}: split {split!r} is none of {_SPLITS}")
        mpp = _number(values["mpp"])
        if values["mpp"] and mpp is None:
            problems.append(f"line {line}: mpp {values['mpp']!r} is no pixel size")
        rows.append(
            SlideRow(
                slide_id=slide_id,
                path=Path(values["path"]),
                label=labels.get(label),
                patient_id=values["patient_id"] or slide_id,
                split=split or None,
                mpp=mpp,
            )
        )
    if problems:
        raise ProjectError(f"{source}:\n  " + "\n  ".join(problems))
    return rows


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _free_id(stem: str, taken: set[str]) -> str:
    base = re.sub(r"[^\w.\-]+", "_", stem).strip("._-")[:100] or "slide"
    candidate, number = base, 2
    while candidate.casefold() in taken:
        candidate, number = f"{base}_{number}", number + 1
    return candidate


def safe_name(name: str, what: str) -> str:
    """Return `name` if it can be the name of a file in the project.

    Raises
    ------
    ProjectError
        If it would leave its folder, or some file system cannot have it.
    """
    if not _ID.fullmatch(name) or name.endswith((".", " ")):
        raise ProjectError(f"{name!r} cannot be the name of a {what}: use letters")
    return name
