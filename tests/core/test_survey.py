"""Before a fit every bag is read once, and what cannot be used is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from weno.errors import FeatureError
from weno.mil.bag_files import read_bag
from weno.mil.bags import Bag
from weno.mil.config import TrainConfig
from weno.mil.packed import PackedBags
from weno.mil.standardise import Standardiser
from weno.mil.survey import Survey, survey
from weno.mil.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

CONFIG = TrainConfig(epochs=2, min_epochs=1, student_warmup=0)
CONTEXT = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}


def bag(k: int, **values: Any) -> Bag:
    rng = np.random.default_rng(k)
    rows = rng.standard_normal((20 + k, 5)).astype(np.float32)
    return replace(Bag(f"s{k}", f"p{k}", k % 2, rows), **values)


def survey_of(bags: list[Bag]) -> Survey:
    steps = survey(bags)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Survey = stop.value
            return result


@dataclass
class Counted:
    """Rows that count how often they are read."""

    values: npt.NDArray[np.float32]
    read: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.float32]:
        self.read += len(self.values[rows]) == len(self.values)
        return self.values[rows]


def test_a_bag_is_read_once_and_once_more_if_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weno.mil.standardise._ASKED", 3)
    rows = [Counted(np.asarray(bag(k).instances[:])) for k in range(12)]
    bags = [bag(k, instances=one) for k, one in enumerate(rows)]
    list(fit(tmp_path / "run", bags, CONFIG, device="cpu", context=CONTEXT))
    # A few of those that trained tell, once more, how far apart tiles are.
    reads = sorted(one.read for one in rows)
    assert reads[:9] == [2] * 9
    assert reads[-1] == 3


def test_a_part_of_a_bag_is_read_alone_where_its_median_is_known() -> None:
    rows = [Counted(np.asarray(bag(k).instances[:])) for k in range(3)]
    bags = [bag(k, instances=one) for k, one in enumerate(rows)]
    moments = survey_of(bags).moments
    standardise = Standardiser(5, relative=True)
    standardise.adapt(moments)
    known, unknown = (
        PackedBags.pack(bags, torch.device("cpu"), standardise, memory=1, moments=m)
        for m in (moments, None)
    )
    part = slice(22, 30)  # of the second bag
    found = known.x[part]
    assert [one.read for one in rows] == [1, 1, 1]
    assert torch.equal(found, unknown.x[part])
    assert [one.read for one in rows] == [1, 2, 1]


def spoil(tmp_path: Path) -> tuple[Bag, Bag]:
    """Return a bag with NaN, and one whose file is damaged where no header is."""
    values = np.asarray(bag(7).instances[:])
    values[3, 1] = np.nan
    path = tmp_path / "deep.npz"
    np.savez(path, features=np.zeros((4000, 5), np.float32))
    file = read_bag(path)
    whole = bytearray(path.read_bytes())
    whole[4000] ^= 0xFF
    path.write_bytes(whole)
    return bag(7, instances=values), bag(8, instances=file.instances)


def test_what_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    bags = [bag(0), *spoil(tmp_path), bag(3)]
    with pytest.raises(FeatureError) as caught:
        survey_of(bags)
    said = str(caught.value)
    assert "s7: features hold NaN or infinity" in said
    assert "deep.npz: damaged" in said
    assert "s0" not in said
    with pytest.raises(FeatureError, match="s7: features hold NaN"):
        list(fit(tmp_path / "run", bags, CONFIG, device="cpu", context=CONTEXT))
    assert not (tmp_path / "run").exists()


def test_a_long_list_is_cut() -> None:
    nan = np.full((3, 5), np.nan, np.float32)
    with pytest.raises(FeatureError, match=r"s9: .*; and 3 more$"):
        survey_of([bag(k, instances=nan) for k in range(13)])


def changed(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    values = values.copy()
    values[-1, -1] += 1
    return values


@pytest.mark.parametrize(
    "change",
    [
        lambda b: replace(b, label=1 - b.label),
        lambda b: replace(b, patient_id="other"),
        lambda b: replace(b, split="test"),
        lambda b: replace(b, instances=changed(b.instances)),
        lambda b: replace(b, instances=b.instances.astype(np.float64)),
        lambda b: replace(b, instance_labels=np.ones(len(b), np.int8)),
    ],
    ids=["label", "patient", "split", "feature", "precision", "answer"],
)
def test_the_digest_tells_other_data(change: Callable[[Bag], Bag]) -> None:
    bags = [bag(k) for k in range(4)]
    before = survey_of(bags).digest
    assert survey_of(bags[::-1]).digest == before
    assert survey_of([*bags[:2], change(bags[2]), bags[3]]).digest != before
