"""Predictions in a process of their own, for whoever must not wait: a window.

In a thread, they and the window would take turns at Python's lock, which half of a
prediction holds: files, tables and ranks are Python's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from weno.apart import Apart, serve
from weno.mil.fit_apart import quiet_device
from weno.mil.reports import PredictReport, PredictResult
from weno.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from weno.apart import Message


def predict_apart(
    project: Project, run: str, slide_ids: Sequence[str], *, device: str = "auto"
) -> Generator[PredictReport | None, None, PredictResult]:
    """Predict slides of a project in a child process; see `predict_project`.

    Leaving the loop ends the child within two seconds; the slides that were reported
    are predicted.

    Parameters
    ----------
    project : Project
    run : str
    slide_ids : sequence of str
    device : str

    Yields
    ------
    PredictReport or None
        None where there is nothing new, so that one who wants to leave can.
    """
    request = {
        "project": str(project.root),
        "run": run,
        "slide_ids": list(slide_ids),
        "device": device,
    }
    result = PredictResult((), (), {})
    with Apart("weno.mil.predict_apart", request) as child:
        for message in child.messages():
            if message is None:
                yield None
            elif "report" in message:
                yield PredictReport(**message["report"])
            else:
                result = PredictResult.of(message["result"])
    return result


def _predict(
    request: Message, _: Callable[[], Message]
) -> Generator[Message, None, None]:
    """Do what the parent asks for."""
    device = quiet_device(request["device"])
    from weno.mil.predict import predict_project

    job = predict_project(
        Project.open(request["project"]),
        request["run"],
        request["slide_ids"],
        device=device,
    )
    result = yield from _told(job)
    yield {"result": asdict(result)}


def _told(
    job: Generator[PredictReport, None, PredictResult],
) -> Generator[Message, None, PredictResult]:
    while True:
        try:
            report = next(job)
        except StopIteration as end:
            result: PredictResult = end.value
            return result
        yield {"report": asdict(report)}


if __name__ == "__main__":
    serve(_predict)
