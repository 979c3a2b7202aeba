"""What is in results, to compare those of two ways to make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py

__all__ = ["contents"]


def contents(path: Path) -> dict[str, Any]:
    """Return what a result holds as it is stored, but for when and by how many it was made."""
    found: dict[str, Any] = {}

    def take(name: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset):
            found[name] = (one.shape, one.dtype.str, stored_bytes(one))

    with h5py.File(path) as h5:
        h5["events"].visititems(take)
        found |= {name: str(value) for name, value in h5.attrs.items()}
        (record,) = (name for name in h5["logs"] if name.startswith("dcnum-job"))
        job = json.loads("\n".join(h5["logs"][record].asstr()[()]))["job"]
    varies = ("path_in", "path_out", "num_procs")
    return found | {"job": {k: v for k, v in job.items() if k not in varies}}


def stored_bytes(dataset: h5py.Dataset) -> list[bytes]:
    """Return the chunks of a dataset as they are in the file, packed."""
    if dataset.chunks is None:
        return [dataset[()].tobytes()]
    return [
        dataset.id.read_direct_chunk(dataset.id.get_chunk_info(i).chunk_offset)[1]
        for i in range(dataset.id.get_num_chunks())
    ]
