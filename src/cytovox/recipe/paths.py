"""Search paths: where files are that a recipe names without a folder.

A recipe names for example a model by its file name alone, so that it reads the
same on every computer; here each computer says in which folders to look.
"""

from __future__ import annotations

import pathlib

from ..errors import InputNotFoundError

__all__ = [
    "FileNotInSearchPathsError",
    "find_file",
    "register_search_path",
    "search_path_registry",
]

#: Folders to search for each topic, in the order of their registration.
search_path_registry: dict[str, list[pathlib.Path]] = {}


class FileNotInSearchPathsError(InputNotFoundError, KeyError):
    """No registered folder holds a file of this name."""


def register_search_path(topic: str, search_path: str | pathlib.Path) -> None:
    """Search this folder as well, after those already registered.

    Parameters
    ----------
    topic, search_path
        What kind of files are there, e.g. ``"torch_model_files"``; and the folder, which
        need not exist yet. One that is registered already stays where it is.

    Examples
    --------
    >>> register_search_path("paths_example", "models")
    >>> [path.name for path in search_path_registry.pop("paths_example")]
    ['models']
    """
    folders = search_path_registry.setdefault(topic, [])
    folder = pathlib.Path(search_path)
    if folder not in folders:
        folders.append(folder)


def find_file(topic: str, file_name: str) -> pathlib.Path:
    """Return the path of the first file of this name in the folders of a topic.

    Parameters
    ----------
    topic
        Name under which the folders were registered.
    file_name
        Name of the file, without a folder.

    Raises
    ------
    FileNotInSearchPathsError
        If there is none; it is a FileNotFoundError and a KeyError.
    """
    folders = search_path_registry.get(topic, [])
    # A name such as "../x" would leave the registered folders.
    if file_name and pathlib.PurePath(file_name).name == file_name:
        for folder in folders:
            path = folder / file_name
            if path.is_file():
                return path
    searched = ", ".join(str(folder) for folder in folders) or "no folder"
    raise FileNotInSearchPathsError(
        f"Could not find the file '{file_name}' among the {topic} (searched {searched})",
        hint="give the whole path, or register the folder that holds it",
    )
