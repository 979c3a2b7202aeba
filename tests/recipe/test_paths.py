"""Files are found by their name alone in registered folders."""

from __future__ import annotations

import pytest

from cytovox.recipe.paths import find_file, register_search_path, search_path_registry


@pytest.fixture
def topic():
    yield "test_paths"
    search_path_registry.pop("test_paths", None)


def test_first_folder_wins(topic, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
        register_search_path(topic, str(tmp_path / name))
    register_search_path(topic, tmp_path / "a")
    assert search_path_registry[topic] == [tmp_path / "a", tmp_path / "b"]
    assert find_file(topic, "x.txt") == tmp_path / "a" / "x.txt"
    (tmp_path / "a" / "x.txt").unlink()
    assert find_file(topic, "x.txt") == tmp_path / "b" / "x.txt"


@pytest.mark.parametrize("name", ["none.txt", "", "..", "../secret.txt", "a/../x.txt"])
def test_what_is_not_there_is_named(topic, tmp_path, name):
    (tmp_path / "secret.txt").write_text("")
    (tmp_path / "in").mkdir()
    register_search_path(topic, tmp_path / "in")
    with pytest.raises(FileNotFoundError, match="among the test_paths") as caught:
        find_file(topic, name)
    assert isinstance(caught.value, KeyError)
    assert str(tmp_path / "in") in str(caught.value)


def test_no_folder_at_all(topic):
    with pytest.raises(KeyError, match="searched no folder"):
        find_file(topic, "x.txt")
    assert topic not in search_path_registry
