"""A fit in a process of its own, for whoever must not wait: a window.

In a thread, a fit and the window would take turns at Python's lock and at the
processors; a process of low priority takes what the window leaves. It can be ended at
any moment, and gives back all memory, that of a GPU too, when it ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weno.apart import Apart, serve
from weno.mil.config import TrainConfig
from weno.mil.reports import EpochReport, PredictReport, PreviewReport, StepReport
from weno.prediction import read_prediction
from weno.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from weno.apart import Message

    Report = StepReport | EpochReport | PredictReport | PreviewReport

_REPORTS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (StepReport, EpochReport, PredictReport)
}
_NICE = 19  # the politest, where there is no class of idle processes


def fit_apart(
    project: Project,
    config: TrainConfig,
    *,
    name: str,
    device: str = "auto",
    resume: bool = False,
    predict: bool = False,
    slide_to_show: Callable[[], str | None] = lambda: None,
) -> Generator[Report | None, None, dict[str, str | None]]:
    """Fit a run, and predict all slides if wanted, in a child process.

    Leaving the loop ends the child within two seconds; what was reported done is on
    disk, and the fit can be resumed, see `weno.mil.fit`.

    Parameters
    ----------
    project : Project
    config : TrainConfig
    name : str
        Of the run.
    device : str
    resume : bool
    predict : bool
    slide_to_show : callable, optional
        Says which slide to predict with the weights in training; asked all the time.

    Yields
    ------
    report or None
        None where there is nothing new, so that one who wants to leave can.

    Returns
    -------
    dict
        From the id of each slide that was predicted to None, or to why it could not be.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "project": str(project.root),
            "config": config.to_dict(),
            "name": name,
            "device": device,
            "resume": resume,
            "predict": predict,
            "preview": str(Path(folder) / "preview.parquet"),
        }
        predicted: dict[str, str | None] = {}
        shown: str | None = None
        with Apart("weno.mil.fit_apart", request) as child:
            for message in child.messages():
                if (wanted := slide_to_show()) != shown:
                    shown = wanted
                    child.send({"show": wanted})
                report = _decoded(message)
                if isinstance(report, PredictReport):
                    predicted[report.slide_id] = report.error
                yield report
        return predicted


def _decoded(message: Mapping[str, Any] | None) -> Report | None:
    if message is None:
        return None
    ((name, values),) = message.items()
    if name == "preview":
        path = Path(values["path"])
        return PreviewReport(values["epoch"], read_prediction(path))
    report: Report = _REPORTS[name](**values)
    return report


def _fit(
    request: Message, newest: Callable[[], Message]
) -> Generator[Message, None, None]:
    """Do what the parent asks for."""
    device = quiet_device(request["device"])
    from weno.mil.predict import predict_project
    from weno.mil.preview import Previews
    from weno.mil.scores import choose_device
    from weno.mil.training import fit_project

    project = Project.open(request["project"])
    config = TrainConfig.from_dict(request["config"])
    name, preview = request["name"], Path(request["preview"])
    target = choose_device(device)
    previews = Previews(project, project.run_dir(name), config, target, preview)
    reports = fit_project(
        project, config, name=name, device=device, resume=request["resume"]
    )
    for report in reports:
        yield _encoded(report)
        if not isinstance(report, EpochReport):
            continue
        if previews.after(report, newest().get("show")):
            yield {"preview": {"path": str(preview), "epoch": report.epoch}}
    if request["predict"]:
        for done in predict_project(project, name, device=device):
            yield _encoded(done)


def _encoded(report: Any) -> Message:
    return {type(report).__name__: asdict(report)}


def quiet_device(name: str) -> str:
    """Choose what a child of a window computes on; leave the window what it needs.

    Parameters
    ----------
    name : str
        "auto", or one that torch knows.
    """
    # So that numbers mean the GPUs that `weno.mil.devices` has listed.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    from weno.mil.scores import choose_device

    device = choose_device(name)
    if device.type == "cpu":
        _stand_back()
    return str(device)


def _stand_back() -> None:
    """Leave the window a processor, and go first nowhere."""
    import torch

    spared = (os.cpu_count() or 2) - 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), spared)))
    with suppress(OSError):
        if sys.platform == "linux":
            # A thread of the window is put where only this runs as if nothing did. Of
            # this thread and those that it begins: the one that ends the child is not.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        elif sys.platform != "win32":  # there it was started so
            os.nice(_NICE)


if __name__ == "__main__":
    serve(_fit)
