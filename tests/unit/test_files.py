"""Folders that are there whole or not at all."""

import pytest

from semiovs.errors import DataError, UsageError
from semiovs.files import new_folder


@pytest.mark.parametrize("there", [True, False])
def test_a_new_folder_is_there_once_it_is_full(tmp_path, there):
    path = tmp_path / "deep" / "new"
    if there:
        path.mkdir(parents=True)
    with new_folder(path) as partial:
        assert partial.parent == path.parent  # the rename stays on one disk
        assert partial.name.startswith(".")  # nobody takes it for data
        (partial / "file").write_text("full")
        assert not list(path.glob("*"))
    assert (path / "file").read_text() == "full"
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), DataError("no")])
def test_a_new_folder_that_fails_leaves_nothing(tmp_path, error):
    def fill():
        with new_folder(tmp_path / "new") as partial:
            (partial / "file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fill()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [DataError, UsageError])
def test_a_new_folder_replaces_nothing(tmp_path, kind):
    (tmp_path / "mine").write_text("mine")
    for path in (tmp_path, tmp_path / "mine"):
        with pytest.raises(kind, match="is there already"), new_folder(path, kind):
            raise AssertionError
    assert (tmp_path / "mine").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
