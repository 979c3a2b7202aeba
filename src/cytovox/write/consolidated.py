"""Copies of metadata that groups above an image hold ("consolidated metadata").

zarr-python reads a group by its copy if there is one, and does not see what was
added since. So the copies are brought up to date when an image is written.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from ..errors import CytovoxError
from ..read.volume_address import Address, safe_join
from ..read.volume_store import read_json, write_bytes
from .volume_metadata import read_image

__all__ = ["refresh_consolidated"]

logger = logging.getLogger(__name__)

_ZARR_2 = (".zgroup", ".zarray", ".zattrs")


def refresh_consolidated(image: Address) -> None:
    """Let each group above an image that holds copies of metadata hold those of the image."""
    found = read_image(image)
    levels = [] if found is None else [level.path for level in found.levels]
    members = {"": image} | {path: safe_join(image, path) for path in levels}
    within, top = "", image
    while any(read_json(top, name) is not None for name in ("zarr.json", ".zgroup")):
        try:
            _refresh(top, within, members)
        except CytovoxError as err:  # the image itself is complete
            logger.warning("%s: its copy of metadata cannot be brought up to date: %s", top, err)
        above = top.parent()
        if above is None:
            return
        # groups on the way, such as the folder of labels, may be new as well
        members = {f"{top.name}/{path}".rstrip("/"): where for path, where in members.items()}
        within = f"{top.name}/{within}".rstrip("/")
        members[""], top = above, above


def _refresh(top: Address, within: str, members: dict[str, Address]) -> None:
    """Replace what one group says of members, and forget all other scales within a path."""
    document = read_json(top, "zarr.json")
    name = ".zmetadata" if document is None else "zarr.json"
    kept = read_json(top, name)
    copy = kept if document is None else (kept or {}).get("consolidated_metadata")
    if not isinstance(copy, dict) or not isinstance(copy.get("metadata"), dict):
        return
    inside = f"{within}/" if within else ""
    content = {
        key: value
        for key, value in copy["metadata"].items()
        if not key.startswith(inside) or not key[len(inside) :].split("/")[0].isdigit()
    }
    for path, where in members.items():
        content |= _copies_2(path, where) if document is None else _copies_3(path, where)
    # zarr-python wants members of a group together
    copy["metadata"] = dict(sorted(content.items()))
    write_bytes(top, name, json.dumps(kept, indent=2).encode())


def _copies_2(path: str, where: Address) -> dict[str, Any]:
    found = {f"{path}/{name}".lstrip("/"): read_json(where, name) for name in _ZARR_2}
    return {name: document for name, document in found.items() if document is not None}


def _copies_3(path: str, where: Address) -> dict[str, Any]:
    document = read_json(where, "zarr.json")
    if not path or document is None:
        return {}
    if document.get("node_type") == "group":
        empty = {"kind": "inline", "must_understand": False, "metadata": {}}
        document["consolidated_metadata"] = empty
    return {path: document}
