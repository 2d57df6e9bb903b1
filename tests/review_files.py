"""What tests of the review read back."""

from __future__ import annotations

import json

from weno.project import Project

#: The slides with a prediction in the project of the fixture `predicted`.
SLIDES = ("synthetic_000", "synthetic_001")


def events(project: Project, reviewer: str = "ada") -> list[dict[str, object]]:
    lines = (project.review_dir / f"{reviewer}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
