"""Jobs over slides on the workers of a ``dask.distributed`` cluster.

Each slide is a task. It goes to another worker if its own one dies, and what it makes
lies in a folder that all workers and this machine share, so little travels.
"""

from __future__ import annotations

import queue
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from weno import __version__
from weno.errors import ClusterError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from distributed import Client

_CONNECT_S = 20
_REPORT_S = 0.5

Result = TypeVar("Result")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Settled(Generic[Result]):
    """What has become of one slide.

    Parameters
    ----------
    slide_id : str
    result : object or None
        What the task has returned; None if its workers have died again and again.
    error : str
        Why there is no result.
    """

    slide_id: str
    result: Result | None
    error: str = ""


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler of a cluster.

    Parameters
    ----------
    address : str
        Such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    ClusterError
        If nothing answers there.
    MissingExtra
        If dask.distributed is not installed.
    """
    distributed = import_extra("distributed", "cluster")
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({error}); start one with: "
            "dask scheduler, and workers with: dask worker ADDRESS"
        ) from error
    with client:
        yield client


@contextmanager
def local_workers(count: int) -> Iterator[Client]:
    """Start worker processes on this machine, for as long as the block lasts.

    Raises
    ------
    MissingExtra
        If dask.distributed is not installed.
    """
    distributed = import_extra("distributed", "cluster")
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def over_slides(
    client: Client,
    task: Callable[Concatenate[str, P], Result],
    slide_ids: Sequence[str],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Generator[Settled[Result] | None]:
    """Run a task for each slide; yield each slide when it is settled.

    To leave the loop drops the slides that no worker has begun with; what has been
    begun is finished.

    Parameters
    ----------
    client : distributed.Client
    task : callable
        A function of a module of this package: takes a slide's id, then `args`.
    slide_ids : sequence of str

    Yields
    ------
    Settled or None
        None now and then, when there is nothing new.

    Raises
    ------
    ClusterError
        If the scheduler is gone, or a worker runs another version of this package.
    WenoError
        What the task raises, which is meant to stop it for all slides.
    """
    distributed = import_extra("distributed", "cluster")
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    names = {}
    for slide_id in slide_ids:
        future = client.submit(
            _checked, __version__, task, slide_id, *args, pure=False, **kwargs
        )
        names[future.key] = slide_id
        future.add_done_callback(finished.put)
    try:
        for _ in slide_ids:
            while (future := _next(finished)) is None:
                yield None
            if future.status == "cancelled":
                raise ClusterError(
                    "the scheduler is gone; what is done is kept: start it and the job "
                    "again"
                )
            slide_id = names[future.key]
            try:
                yield Settled(slide_id, future.result())
            except distributed.KilledWorker as error:
                reason = f"the workers that tried it have died, {error.last_worker}"
                yield Settled(
                    slide_id, None, f"{reason} the last: see its log, or its memory"
                )
    finally:
        client.cancel(list(names))


def _next(finished: queue.SimpleQueue[Any]) -> Any:
    try:
        return finished.get(timeout=_REPORT_S)
    except queue.Empty:
        return None


def _checked(
    version: str, task: Callable[..., Result], slide_id: str, *args: Any, **kwargs: Any
) -> Result:
    """Run a task on a worker."""
    if version != __version__:
        raise ClusterError(
            f"a worker runs napari-weno {__version__}, the job comes from {version}: "
            "install the same version everywhere"
        )
    return task(slide_id, *args, **kwargs)
