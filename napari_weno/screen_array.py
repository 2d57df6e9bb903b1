"""What a slide's layer holds: dask arrays that are in time for the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_weno.streaming import Screen


class ScreenArray(da.Array):
    """One level of a slide: exact for dask, in time for napari."""

    screen: Screen
    level: int

    def __getitem__(self, key: Any) -> Any:
        if self.screen.is_asked():
            rows, columns = key[0], key[1]
            y, bottom, _ = rows.indices(self.shape[0])
            x, right, _ = columns.indices(self.shape[1])
            return self.screen.view(self.level, y, x, bottom - y, right - x)
        return super().__getitem__(key)

    def __array__(self, *args: Any, **keywords: Any) -> npt.NDArray[Any]:
        if self.screen.is_asked(opening=True):
            overview: npt.NDArray[Any] = self.screen.overview(self.level)
            return overview
        exact: npt.NDArray[Any] = super().__array__(*args, **keywords)
        return exact
