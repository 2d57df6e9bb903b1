"""A project made of features that TRIDENT or CLAM has extracted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from weno.errors import FeatureError, SlideError
from weno.features.extraction import check_room, record
from weno.features.foreign import ForeignFile, find_files, read_foreign
from weno.features.store import AS_STORED, FeatureHeader, write_rows
from weno.project import Project, features_folder
from weno.slide_rows import (
    check_rows,
    free_id,
    read_records,
    search_records,
    write_records,
)
from weno.slides import open_slide
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

#: Pixels of 0.2 to 0.3 µm count as 40x, that is 0.25: up to a fifth beside the truth.
_NOMINAL: Final = 1.2
_SAME: Final = 1e-3
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class AdoptReport:
    """How far features have become those of a project.

    Parameters
    ----------
    slide_id : str
    done, total : int
        Slides.
    doing : str
        ``"read"``, ``"check"`` or ``"copy"``.
    """

    slide_id: str
    done: int
    total: int
    doing: str

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        step = ("read", "check", "copy").index(self.doing)
        return (step + self.done / self.total) / 3

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        return f"{self.doing} {self.slide_id}"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A project and where its features have come from.

    Parameters
    ----------
    project : Project
    adopted : tuple of str
        Ids of the slides that have features now.
    without : tuple of str
        Slides of the table for which there was no file.
    unlisted : tuple of str
        Names of files for which the table has no slide; they were left out.
    resized : tuple of str
        Slides whose pixel size was set to the one that their tiles were cut by.
    failed : dict of str to str
        Why there are no features, by slide id.
    """

    project: Project
    adopted: tuple[str, ...]
    without: tuple[str, ...]
    unlisted: tuple[str, ...]
    resized: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Slide:
    """A slide of the table and its file."""

    record: dict[str, str]
    file: ForeignFile
    resized: bool = False

    @property
    def slide_id(self) -> str:
        return self.record["slide_id"]


def adopt(
    root: str | Path,
    features: str | Path,
    slides: str | Path | None = None,
    *,
    encoder: str | None = None,
    tile_um: float | None = None,
    tile_mpp: float | None = None,
    class_names: Sequence[str] = ("negative", "positive"),
    positive: str | None = None,
) -> Generator[AdoptReport, None, Adopted]:
    """Make a project of a folder of features that TRIDENT or CLAM has made.

    The files are copied into the project's own, float16 as float32; the folder is not
    needed after that. All that can be checked is, before anything is written: shapes,
    one tile size and resolution for all, and against each slide that is there, whether
    the tiles lie in it and have the resolution that is claimed.

    Parameters
    ----------
    root : str or Path
        The folder of the project; must not hold one yet.
    features : str or Path
        A folder of ``.h5`` files, or one above it as these programs make it.
    slides : str or Path, optional
        A CSV or a folder, as of `Project.create`; the column path may be missing. Its
        slides are found by slide_id or the name of the file. Left out, each file is a
        slide without label and pixels.
    encoder : str, optional
        What made the features; needed where neither files nor folder say it.
    tile_um, tile_mpp : float, optional
        Side of a tile in µm, and µm per pixel that the encoder saw; needed where the
        files do not say it.
    class_names : sequence of str
    positive : str, optional

    Yields
    ------
    AdoptReport

    Returns
    -------
    Adopted

    Raises
    ------
    FeatureError
        If files do not fit together or their slides; all problems at once.
    ProjectError
        If there is a project already, or the table is wrong.
    """
    root, folder = Path(root).resolve(), Path(features).resolve()
    Project.check_new(root, slides)
    files = yield from _read(folder)
    encoder = encoder or _encoder_of(folder, files)
    spec = _spec_of(folder, files, tile_um, tile_mpp)
    records, chosen = _joined(slides, files)
    if not chosen:
        raise FeatureError(f"{folder}: no file is named like a slide of {slides}")
    classes = (class_names, positive or class_names[-1])
    check_rows(records, Path(slides or folder), *classes)
    headers = yield from _checked(folder, chosen, encoder, spec)
    failed = yield from _copied(features_folder(root, encoder, spec), chosen, headers)
    write_records(root / "slides.csv", root, records)
    project = Project.create(
        root,
        root / "slides.csv",
        spec=spec,
        encoder=encoder,
        class_names=class_names,
        positive=positive,
    )
    for slide_id, why in failed.items():
        record(project, slide_id, why)
    ids = {slide.slide_id: slide.file.name for slide in chosen}
    return Adopted(
        project,
        adopted=tuple(i for i in ids if i not in failed),
        without=tuple(r["slide_id"] for r in records if r["slide_id"] not in ids),
        unlisted=tuple(f.name for f in files if f.name not in ids.values()),
        resized=tuple(slide.slide_id for slide in chosen if slide.resized),
        failed=failed,
    )


def _read(folder: Path) -> Generator[AdoptReport, None, list[ForeignFile]]:
    files, problems = [], []
    paths = find_files(folder)
    for done, path in enumerate(paths):
        yield AdoptReport(path.stem, done, len(paths), "read")
        try:
            files.append(read_foreign(path))
        except FeatureError as error:
            problems.append(str(error))
    _refuse(folder, problems)
    return files


def _checked(
    folder: Path, chosen: Sequence[_Slide], encoder: str, spec: TileSpec
) -> Generator[AdoptReport, None, list[FeatureHeader]]:
    headers, problems = [], []
    for done, slide in enumerate(chosen):
        yield AdoptReport(slide.slide_id, done, len(chosen), "check")
        try:
            headers.append(_header(slide, encoder, spec))
        except (FeatureError, SlideError) as error:
            problems.append(str(error))
    _refuse(folder, problems)
    return headers


def _copied(
    target: Path, chosen: Sequence[_Slide], headers: Sequence[FeatureHeader]
) -> Generator[AdoptReport, None, dict[str, str]]:
    target.mkdir(parents=True, exist_ok=True)
    needed = sum(4 * count * width for count, width in (h.shape for h in headers))
    check_room(target, needed)
    failed = {}
    for done, (slide, header) in enumerate(zip(chosen, headers, strict=True)):
        yield AdoptReport(slide.slide_id, done, len(chosen), "copy")
        path = target / f"{slide.slide_id}.h5"
        try:
            write_rows(path, header, slide.file.origins, slide.file.rows())
        except FeatureError as error:
            failed[slide.slide_id] = str(error)
    return failed


def _refuse(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - _SHOWN
        told = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise FeatureError(f"{folder}: " + "\n  ".join(told))


def _one(folder: Path, what: str, found: Mapping[str, Any]) -> Any:
    """Return the value that all files share."""
    values = set(found.values())
    if len(values) > 1:
        examples = {value: name for name, value in found.items()}
        told = ", ".join(f"{value} in {name}" for value, name in examples.items())
        raise FeatureError(f"{folder}: files of more than one {what}: {told}")
    return values.pop() if values else None


def _encoder_of(folder: Path, files: Sequence[ForeignFile]) -> str:
    encoder = _one(folder, "encoder", {file.name: file.encoder for file in files})
    if not encoder:
        raise FeatureError(
            f"{folder}: nothing there says which encoder made the features: say it "
            "with --encoder NAME"
        )
    return f"trident:{encoder}"


def _spec_of(
    folder: Path,
    files: Sequence[ForeignFile],
    tile_um: float | None,
    tile_mpp: float | None,
) -> TileSpec:
    """Return the tile spec that all files share."""
    _one(folder, "width", {f.name: f.shape[1] for f in files if f.shape[0]})
    px = _one(folder, "tile size", {f.name: f.tile_px for f in files if f.tile_px})
    gap = {f.name: f.overlap_px for f in files if f.overlap_px is not None}
    overlap = _one(folder, "overlap", gap) or 0
    mpp = _one(folder, "resolution (mpp)", {f.name: f.mpp for f in files if f.mpp})
    mpp = tile_mpp or mpp
    if not mpp or not (px or tile_um):
        missing = "--tile-mpp" if px or tile_um else "--tile-um and --tile-mpp"
        raise FeatureError(
            f"{folder}: the files do not say what tiles they are of: give {missing}"
        )
    side = tile_um or px * mpp
    if px and abs(side / mpp - px) > 0.5:
        raise FeatureError(
            f"{folder}: tiles are {px} px, but {side:g} µm at {mpp:g} µm/px are "
            f"{side / mpp:.0f} px: correct --tile-um or --tile-mpp"
        )
    stride = side - overlap * mpp if overlap else None
    # Which share of tissue they have been chosen by, the files do not say.
    return TileSpec(tile_um=side, mpp=mpp, stride_um=stride, min_tissue=0.0)


def _joined(
    slides: str | Path | None, files: Sequence[ForeignFile]
) -> tuple[list[dict[str, str]], list[_Slide]]:
    """Return the lines of the table, and those slides of it that have a file.

    Without a table, each file is a slide.
    """
    if slides is None:
        taken: set[str] = set()
        made = []
        for file in files:
            slide_id = free_id(file.name, taken)
            taken.add(slide_id.casefold())
            line = {"slide_id": slide_id, "path": "", "label": ""}
            made.append(_Slide(line, file))
        return [slide.record for slide in made], made
    source = Path(slides).resolve()
    is_table = source.is_file()
    lines = (
        read_records(source, path_needed=False) if is_table else search_records(source)
    )
    by_name = {file.name: file for file in files}
    found = []
    for line in lines:
        names = {line["slide_id"], Path(line["path"]).stem} & by_name.keys()
        found += [_Slide(line, by_name[name]) for name in sorted(names)[:1]]
    return lines, found


def _header(slide: _Slide, encoder: str, spec: TileSpec) -> FeatureHeader:
    """Return what the slide's features file is to say, all of it checked.

    Raises
    ------
    FeatureError
        If the features do not fit the slide.
    SlideError
        If it cannot be read.
    """
    file, known = slide.file, _known(slide)
    l0 = file.tile_l0 or (spec.tile_um / known.mpp[0] if known.mpp else None)
    if l0 is None:
        raise FeatureError(
            f"{file.path}: how large its tiles are in level-0 pixels, neither it nor "
            "the slide says: give the slides, or their mpp in the table"
        )
    mpp = (spec.tile_um / l0, spec.tile_um / l0)
    if known.mpp:
        _check_resolution(file, spec, mpp[0], known.mpp)
        if np.allclose(known.mpp, mpp, rtol=_SAME):
            mpp = known.mpp
        else:
            slide.resized = True
            slide.record["mpp"] = f"{mpp[0]:.9g}"
    last = file.origins.max(axis=0, initial=0)  # (y, x)
    height, width = known.shape or (int(side) + round(l0) for side in last)
    outside = (file.origins >= (height, width)).any(axis=1)  # (N,)
    if outside.any():
        y, x = file.origins[outside.argmax()]
        raise FeatureError(
            f"{file.path}: a tile begins at ({y}, {x}), outside of the slide, "
            f"({height}, {width}) (y, x)"
        )
    return FeatureHeader(
        slide_id=slide.slide_id,
        encoder=encoder,
        spec=spec,
        mpp=mpp,
        slide_shape=(height, width),
        content_hash=known.content_hash,
        shape=file.shape,
        colour=AS_STORED,
    )


class _Known(NamedTuple):
    """What is known of a slide itself."""

    mpp: tuple[float, float] | None
    shape: tuple[int, int] | None
    content_hash: str


def _known(slide: _Slide) -> _Known:
    file, path = slide.file, Path(slide.record["path"])
    given = float(slide.record.get("mpp") or 0) or None
    if slide.record["path"] and path.exists():
        with open_slide(path, mpp=given) as opened:
            known = _Known(opened.mpp, opened.shape, opened.content_hash)
        if file.slide_shape not in (None, known.shape):
            raise FeatureError(
                f"{file.path}: is of a slide of {file.slide_shape} pixels (y, x), "
                f"{path} has {known.shape}"
            )
        return known
    # Tells this slide from others, as verdicts have to.
    content = hashlib.sha256(slide.slide_id.encode() + file.origins.tobytes())
    mpp = (given, given) if given else None
    return _Known(mpp, file.slide_shape, f"features-{content.hexdigest()[:32]}")


def _check_resolution(
    file: ForeignFile, spec: TileSpec, cut_by: float, true: tuple[float, float]
) -> None:
    """Refuse tiles whose resolution is not even nominally the one that is claimed."""
    off = float(np.sqrt(true[0] * true[1])) / cut_by
    if not 1 / _NOMINAL < off < _NOMINAL:
        raise FeatureError(
            f"{file.path}: its tiles are said to have {spec.mpp:g} µm/px, but with "
            f"{true[0]:g} µm per level-0 pixel, as the slide has, it is "
            f"{spec.mpp * off:g}"
        )
