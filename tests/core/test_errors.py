from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from weno.atomic import replacing
from weno.errors import MissingExtra, SlideError, import_extra


def test_missing_extra_names_the_way_out() -> None:
    with pytest.raises(MissingExtra, match=r'pip install "napari-weno\[torch\]"'):
        import_extra("no_such_package.part", "torch")


def test_broken_import_inside_a_package_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "half_there"
    package.mkdir()
    (package / "__init__.py").write_text("import another_missing_thing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_thing"):
        import_extra("half_there", "torch")


def test_slide_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(SlideError(Path("a.svs"), "is damaged")))
    assert (error.path, error.reason) == (Path("a.svs"), "is damaged")
    assert str(error) == "a.svs: is damaged"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
