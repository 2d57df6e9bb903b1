"""The table of a cohort whose bags other programs made.

A CSV with the columns slide_id, path, label and, if wanted, patient_id and split; or
without path, for bag files that are named by slide_id; or a dataset CSV of CLAM
(case_id, slide_id, label); or DSMIL's list of two columns, path and label, whose header
may be missing; or, where labels do not matter, just a folder of bag files.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weno.errors import FeatureError, ProjectError
from weno.mil.bag_files import SUFFIXES, read_bag
from weno.mil.bags import SPLITS, Bag
from weno.slide_rows import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weno.mil.bag_files import FirstColumn

Classes = tuple[str, str]

# Where CLAM puts features, in the folder that it is told.
_CLAM_FOLDERS = ("h5_files", "pt_files")
# What pandas makes of whole numbers in a column with gaps.
_NUMBERS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True, slots=True)
class BagRow:
    """One bag of a table; the file has not been looked at.

    Parameters
    ----------
    slide_id : str
        Unique, and fit to be a file name.
    path : Path
    label : int or None
        1 positive, 0 negative, None not known.
    patient_id : str
        The slide's id if not given.
    split : str or None
        "train", "val" or "test", where it is prescribed.
    """

    slide_id: str
    path: Path
    label: int | None
    patient_id: str
    split: str | None


def read_bag_table(
    table: str | Path,
    features: str | Path | None = None,
    *,
    classes: Classes | None = None,
    splits: str | Path | None = None,
) -> list[BagRow]:
    """Read which bags there are.

    Parameters
    ----------
    table : str or Path
        One of the tables above.
    features : str or Path, optional
        Folder of the bag files; the table's own if not given. A path without the
        ending of a bag file, and a slide_id where there are no paths, are looked for
        there and in CLAM's subfolders, in the order of `SUFFIXES`.
    classes : (str, str), optional
        Names of the negative and the positive class, for labels in words.
    splits : str or Path, optional
        A CSV of CLAM with the columns train, val and test, which list slide ids. It
        wins over the table's splits, and slides that it does not list are left out.

    Raises
    ------
    FeatureError
        With all that is wrong.
    """
    rows, problems = _rows(Path(table), features, classes, splits)
    if problems:
        raise FeatureError(_all_of(table, problems))
    return rows


def read_cohort(
    table: str | Path,
    features: str | Path | None = None,
    *,
    classes: Classes | None = None,
    splits: str | Path | None = None,
    first_column: FirstColumn = "feature",
    learn_labels: bool = False,
) -> list[Bag]:
    """Read a cohort to fit on; where the format allows, features stay on disk.

    Parameters
    ----------
    table, features, classes, splits
        As of `read_bag_table`.
    first_column : {"feature", "label"}
        As of `read_bag`.
    learn_labels : bool
        Whether the student may learn from labels of tiles that the files have. The
        method is to do without, so they are kept from it unless asked for.

    Raises
    ------
    FeatureError
        With all that is wrong: in the table, and with every file.
    """
    rows, problems = _rows(Path(table), features, classes, splits)
    bags: list[Bag] = []
    for row in rows:
        try:
            file = read_bag(row.path, first_column=first_column)
        except FeatureError as error:
            problems.append(str(error))
            continue
        labels = file.instance_labels if learn_labels else None
        bags.append(
            Bag(
                row.slide_id,
                row.patient_id,
                row.label,
                file.instances,
                row.split,
                labels,
            )
        )
    paths = {row.slide_id: row.path for row in rows}
    problems += _width_problems(bags, paths)
    if problems:
        raise FeatureError(_all_of(table, problems))
    return bags


def bags_context(classes: Classes | None = None, encoder: str = "") -> dict[str, Any]:
    """Return the context of a fit on bags of others, see `run_context`.

    Parameters
    ----------
    classes : (str, str), optional
        Names of the negative and the positive class.
    encoder : str
        What made the features, where it is known; files that say another are then
        refused in prediction.
    """
    names = list(classes or ("negative", "positive"))
    return {"encoder": encoder, "spec": {}, "class_names": names}


def _rows(
    table: Path,
    features: str | Path | None,
    classes: Classes | None,
    splits: str | Path | None,
) -> tuple[list[BagRow], list[str]]:
    """Return the rows of a table, and all that is wrong with it."""
    folder = Path(features or (table if table.is_dir() else table.parent))
    records = _records(table)
    rows = [
        BagRow(
            record["slide_id"],
            _find(folder, record.get("path") or record["slide_id"]),
            _label(record.get("label", ""), classes),
            record.get("patient_id") or record.get("case_id") or record["slide_id"],
            record.get("split") or None,
        )
        for record in records
    ]
    problems = [
        *_id_problems([row.slide_id for row in rows]),
        *_label_problems([record.get("label", "") for record in records], classes),
    ]
    if splits is not None:
        prescribed, found = _read_splits(Path(splits), {row.slide_id for row in rows})
        problems += found
        listed = [row for row in rows if row.slide_id in prescribed]
        rows = [replace(row, split=prescribed[row.slide_id]) for row in listed]
    odd = sorted({row.split for row in rows if row.split} - set(SPLITS))
    if odd:
        problems.append(f"split {_listed(odd)} is none of {', '.join(SPLITS)}")
    return rows, problems


def _records(table: Path) -> list[dict[str, str]]:
    """Return the lines of a table by column; every one has a slide_id."""
    if table.is_dir():
        files = [p for p in sorted(table.iterdir()) if p.suffix.lower() in SUFFIXES]
        if not files:
            raise FeatureError(f"{table}: no bag file in this folder")
        return [{"slide_id": path.stem, "path": path.name} for path in files]
    lines = _read_csv(table)
    header = [name.lower() for name in lines[0]]
    if {"slide_id", "path"} & set(header):
        lines = lines[1:]
    elif {len(line) for line in lines} == {2}:  # DSMIL's list
        lines = lines[1:] if header[1] == "label" else lines
        header = ["path", "label"]
    else:
        raise FeatureError(f"{table}: no column slide_id or path in its first line")
    records = [dict(zip(header, line, strict=False)) for line in lines]
    for record in records:
        record["slide_id"] = record.get("slide_id") or _name(record.get("path", ""))
    return records


def _read_csv(path: Path) -> list[list[str]]:
    """Return the lines of a CSV that are not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeatureError(f"{path}: not a readable CSV in UTF-8: {error}") from error
    if not (lines := [line for line in lines if any(line)]):
        raise FeatureError(f"{path}: is empty")
    return lines


def _name(path: str) -> str:
    """Return the name of a file without the ending of a bag file."""
    name = Path(path).name
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending.lower() in SUFFIXES else name


def _find(folder: Path, name: str) -> Path:
    """Return the bag file of a name, or what it would be called if there is none."""
    path = folder / name
    if path.suffix.lower() in SUFFIXES:
        return path
    places = [path.parent, *(path.parent / sub for sub in _CLAM_FOLDERS)]
    found = (place / (path.name + end) for place in places for end in SUFFIXES)
    return next((file for file in found if file.is_file()), path)


def _label(text: str, classes: Classes | None) -> int | None:
    return _known(classes).get(text)


def _known(classes: Classes | None) -> dict[str, int | None]:
    return _NUMBERS | {name: label for label, name in enumerate(classes or ())}


def _label_problems(texts: Sequence[str], classes: Classes | None) -> Iterator[str]:
    odd = sorted(set(texts) - set(_known(classes)))
    if odd and classes:
        yield f"unknown labels {_listed(odd)}: the classes are {' and '.join(classes)}"
    elif odd:
        yield (
            f"labels in words, {_listed(odd)}: name the classes, the negative one "
            "first, as in normal,tumour"
        )


def _id_problems(ids: Sequence[str]) -> Iterator[str]:
    for slide_id in dict.fromkeys(ids):
        try:
            safe_name(slide_id, "slide")
        except ProjectError as error:
            yield f"slide_id {error}"
    # Names that differ in case alone are one file on many systems.
    counts = Counter(slide_id.casefold() for slide_id in ids)
    if twice := sorted({i for i in ids if counts[i.casefold()] > 1}):
        yield f"slide_id given more than once: {_listed(twice)}"


def _width_problems(bags: Sequence[Bag], paths: Mapping[str, Path]) -> Iterator[str]:
    widths = Counter(bag.width for bag in bags if len(bag))
    usual = widths.most_common(1)[0][0] if widths else 0
    for bag in bags:
        if len(bag) and bag.width != usual:
            yield (
                f"{paths[bag.slide_id]}: {bag.width} features a tile, most files have "
                f"{usual}"
            )


def _read_splits(path: Path, known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the split of every slide that a file of CLAM lists, and what is wrong."""
    header, *lines = _read_csv(path)
    columns = {name: header.index(name) for name in SPLITS if name in header}
    if "train" not in columns:
        raise FeatureError(f"{path}: no column train; CLAM's splits_0.csv has one")
    found = [
        (line[i], name)
        for name, i in columns.items()
        for line in lines
        if i < len(line) and line[i]
    ]
    if {slide_id for slide_id, _ in found} <= {"True", "False"}:
        raise FeatureError(f"{path}: take the file beside it that lists slide ids")
    problems = []
    if twice := [i for i, n in Counter(i for i, _ in found).items() if n > 1]:
        problems.append(f"{path}: listed more than once: {_listed(twice)}")
    if strange := [slide_id for slide_id, _ in found if slide_id not in known]:
        problems.append(f"{path}: not in the table: {_listed(strange)}")
    return dict(found), problems


def _all_of(table: str | Path, problems: Sequence[str]) -> str:
    between = " " if len(problems) == 1 else "\n  "
    return between.join([f"{table}:", *problems])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
