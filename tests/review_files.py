"""What tests of the review read back."""

from __future__ import annotations

import json

from weno.project import Project

#: The slides with a prediction in the project of the fixture `predicted`.
SLIDES = ("synthetic_000", "synthetic_001")


def events(project: Project, reviewer: str = "ada") -> list[dict[str, object]]:
    lines = (project.review_dir / f"{reviewer}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def ask_of_three(project: Project) -> Project:
    """Give a project a third class and ask for it; its run was made for "tumour"."""
    path = project.root / "project.toml"
    two, three = '["normal", "tumour"]', '["normal", "tumour", "necrosis"]'
    text = path.read_text("utf-8")
    assert two in text
    path.write_text(text.replace(two, three), "utf-8")
    for run, asked in (("demo", "tumour"), ("other", "necrosis")):
        project.run_dir(run).mkdir(parents=True, exist_ok=True)
        (project.run_dir(run) / "config.json").write_text("{}")
        card = {"format": 1, "class_names": [f"not {asked}", asked]}
        (project.run_dir(run) / "card.json").write_text(json.dumps(card))
    return Project.open(project.root)
