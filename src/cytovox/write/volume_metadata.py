"""What an output will be, and its description as zarr-python and OME-Zarr want it.

Chunks are chosen so that a block is whole write units. Descriptions are written
down here, word for word as zarr-python would, since importing it takes longer
than labelling a small volume. All are stored by the same client that stores the
chunks, so that any store will do.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CytovoxError, OptionError, StorageError, UsageError
from ..read.const import MAX_CHUNK_BYTES
from ..read.volume_address import Address, parse_address, safe_join
from ..read.volume_ome import Multiscale, parse_multiscales
from ..read.volume_store import read_json, write_bytes
from ..read.volume_zarr import ome_of, read_documents

__all__ = [
    "VolumePlan",
    "array_documents",
    "check_label_place",
    "enter_label",
    "group_documents",
    "image_of_labels",
    "multiscales",
    "read_attributes",
    "read_image",
    "refresh_consolidated",
    "write_documents",
    "write_group",
]

logger = logging.getLogger(__name__)

#: Length of a chunk that viewers like, by the number of axes of space.
_LIKED = {1: 4096, 2: 512, 3: 64}
_LEAST = 16
_KINDS = {"z": "space", "y": "space", "x": "space", "c": "channel", "t": "time"}
#: Documents of zarr 2.
_ZARR_2 = (".zgroup", ".zarray", ".zattrs")


@dataclass(frozen=True, slots=True)
class Layout:
    """Voxels along each axis that are decoded together, and written together."""

    chunk: tuple[int, ...]
    unit: tuple[int, ...]


def _best_chunk(block: int, length: int, liked: int) -> int:
    """Return a divisor of the block near to what is liked."""
    if block >= length:
        # one block along this axis: any chunk divides it
        return min(length, liked)
    if block <= liked:
        return block
    best = max(c for c in range(1, liked + 1) if block % c == 0)
    return best if best >= _LEAST else block


def _check_whole(
    block: Sequence[int], chunk: Sequence[int], shape: Sequence[int], where: str
) -> None:
    if all(b % c == 0 or b >= n for b, c, n in zip(block, chunk, shape, strict=True)):
        return
    less = tuple(max(b // c, 1) * c for b, c in zip(block, chunk, strict=True))
    more = tuple(-(-b // c) * c for b, c in zip(block, chunk, strict=True))
    raise UsageError(
        f"a block of {tuple(block)} voxels is not a whole number of chunks of {tuple(chunk)}",
        path=where,
        hint=f"blocks of {less} or {more} would do",
    )


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A volume that was checked and can be made; numbers per axis of space."""

    address: Address
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    units: str
    block: tuple[int, ...] | None
    chunk: tuple[int, ...] | None
    labels: bool

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Voxels along each axis of space."""
        return self.shape[-len(self.voxel_size) :]

    def layout(self, *, shards: bool) -> Layout:
        """Choose chunks, and shards where the format has them, for blocks of the size planned."""
        shape, spatial, where = self.shape, len(self.voxel_size), str(self.address)
        liked = _LIKED.get(spatial, 64)
        leading = shape[:-spatial]
        block = (2 * liked,) * spatial if self.block is None else self.block
        if len(block) == spatial:
            block = (*leading, *block)
        chunk = self.chunk
        if chunk is not None and len(chunk) == spatial:
            chunk = (*leading, *chunk)
        for sizes, what in ((block, "block"), (chunk, "chunk")):
            if sizes is not None and (len(sizes) != len(shape) or min(sizes) < 1):
                raise UsageError(f"{what} {sizes} is not a size in {len(shape)} axes", path=where)
        if chunk is None:
            chunk = tuple(
                min(b, length) if axis < len(leading) else _best_chunk(b, length, liked)
                for axis, (b, length) in enumerate(zip(block, shape, strict=True))
            )
        else:
            _check_whole(block, chunk, shape, where)
        unit = tuple(-(-min(b, n) // c) * c for b, c, n in zip(block, chunk, shape, strict=True))
        if math.prod(chunk) * self.dtype.itemsize > MAX_CHUNK_BYTES:
            better = tuple(round(b / liked) * liked or b for b in block[-spatial:])
            raise UsageError(
                f"blocks of {block} cannot be cut into chunks that fit into memory",
                path=where,
                hint=f"blocks of {better} would do",
            )
        if not shards or math.prod(unit) * self.dtype.itemsize > MAX_CHUNK_BYTES:
            unit = chunk
        return Layout(chunk, unit)


def array_documents(
    plan: VolumePlan, version: int, attributes: dict[str, Any] | None = None
) -> dict[str, bytes]:
    """Return the documents that describe an array, by name."""
    layout, dtype = plan.layout(shards=version == 3), plan.dtype
    if version == 2:
        array = {
            "shape": plan.shape,
            "chunks": layout.chunk,
            "dtype": dtype.str,
            "fill_value": dtype.type(0).item(),
            "order": "C",
            "filters": None,
            "dimension_separator": "/",
            # what zarr 2 readers know without more is zarr-python's own choice for it
            "compressor": {"id": "zstd", "level": 0},
            "zarr_format": 2,
        }
        return _encoded({".zarray": array, ".zattrs": attributes or {}})
    little = _codec("bytes", endian="little")
    if dtype.kind == "f":
        blosc = {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "blocksize": 0}
        compressor = _codec("blosc", typesize=dtype.itemsize, **blosc)
    else:
        compressor = _codec("zstd", level=1, checksum=False)
    codecs = [little if dtype.itemsize > 1 else {"name": "bytes"}, compressor]
    if layout.chunk != layout.unit:
        shard = _codec(
            "sharding_indexed",
            chunk_shape=layout.chunk,
            codecs=codecs,
            index_codecs=[little, {"name": "crc32c"}],
            index_location="end",
        )
        codecs = [shard]
    array = {
        "shape": plan.shape,
        "data_type": dtype.name,
        "chunk_grid": _codec("regular", chunk_shape=layout.unit),
        "chunk_key_encoding": _codec("default", separator="/"),
        "fill_value": dtype.type(0).item(),
        "codecs": codecs,
        "attributes": attributes or {},
        "dimension_names": plan.axes,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    return _encoded({"zarr.json": array})


def _codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _encoded(documents: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    return {name: json.dumps(said, indent=2).encode() for name, said in documents.items()}


def group_documents(attributes: dict[str, Any], version: int) -> dict[str, bytes]:
    """Return the documents that describe a group, by name."""
    if version == 3:
        group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
        return _encoded({"zarr.json": group})
    return _encoded({".zgroup": {"zarr_format": 2}, ".zattrs": attributes})


def multiscales(
    scales: Sequence[VolumePlan], version: int, method: str | None = None
) -> dict[str, Any]:
    """Return the attributes of an image by OME-Zarr, whose scales are named by number."""
    first = scales[0]
    unit = {"unit": first.units} if first.units else {}
    axes = [
        {"name": axis, "type": _KINDS.get(axis, "channel")} | (unit if axis in "zyx" else {})
        for axis in first.axes
    ]
    lead = len(axes) - len(first.voxel_size)
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0] * lead + list(scale.voxel_size)},
                {"type": "translation", "translation": [0.0] * lead + list(scale.offset)},
            ],
        }
        for number, scale in enumerate(scales)
    ]
    name = first.address.name.removesuffix(".zarr").removesuffix(".ome") or first.address.name
    image: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets}
    if method is not None:
        image["type"] = method
    if version == 3:
        return {"ome": {"version": "0.5", "multiscales": [image]}}
    return {"multiscales": [{"version": "0.4", **image}]}


def read_attributes(address: Address) -> tuple[int, dict[str, Any]]:
    """Return the version of zarr and the attributes of a group or array."""
    version, _, attributes = read_documents(address)
    return version, attributes or {}


def read_image(address: Address) -> Multiscale | None:
    """Return what the attributes of a group say of an image, or None if nothing."""
    return parse_multiscales(read_attributes(address)[1], str(address))


def write_documents(address: Address, documents: dict[str, bytes]) -> None:
    """Store documents of a folder, making the folder first."""
    if not address.remote:
        try:
            address.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(f"it cannot be made: {err.strerror}", path=address.path) from err
    for name, data in documents.items():
        write_bytes(address, name, data)


def write_group(address: Address, attributes: dict[str, Any], version: int) -> None:
    """Write the metadata of a group."""
    write_documents(address, group_documents(attributes, version))


def image_of_labels(url: str | os.PathLike[str]) -> Address | None:
    """Return the OME-Zarr image in whose folder ``labels`` something is, if there is one."""
    above = parse_address(url).parent()
    top = above.parent() if above is not None and above.name == "labels" else None
    return None if top is None or read_image(top) is None else top


def check_label_place(url: str | os.PathLike[str], format: str) -> None:
    """Check that labels in the folder of an image are of the same version of zarr."""
    top = image_of_labels(url) if format.startswith("ome-zarr") else None
    if top is None:
        return
    wanted = "ome-zarr-0.5" if read_attributes(top)[0] == 3 else "ome-zarr-0.4"
    if format != wanted:
        raise OptionError(
            f"labels inside this image must be {wanted}",
            path=os.fspath(url),
            hint=f"say format {wanted}",
        )


def enter_label(url: str | os.PathLike[str]) -> None:
    """List labels in the image in whose folder ``labels`` they are; else do nothing."""
    address = parse_address(url)
    folder = address.parent()
    zarr, attributes = read_attributes(address)
    said = ome_of(attributes).get("image-label")
    if folder is None or not isinstance(said, dict) or image_of_labels(url) is None:
        return
    said["source"] = {"image": "../../"}
    write_group(address, attributes, zarr)
    listed = read_attributes(folder)[1]
    if zarr == 3 and not isinstance(listed.get("ome"), dict):
        listed["ome"] = {"version": "0.5"}
    block = ome_of(listed) if zarr == 3 else listed
    names = block.get("labels")
    names = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
    block["labels"] = names if address.name in names else [*names, address.name]
    write_group(folder, listed, zarr)


def refresh_consolidated(image: Address) -> None:
    """Let each group above an image that holds copies of metadata hold those of the image.

    zarr-python reads a group by its copy ("consolidated metadata") if there is
    one, and does not see what was added since.
    """
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
        content |= _copies(path, where, _ZARR_2 if document is None else ("zarr.json",))
    # zarr-python wants members of a group together
    copy["metadata"] = dict(sorted(content.items()))
    write_bytes(top, name, json.dumps(kept, indent=2).encode())


def _copies(path: str, where: Address, names: Sequence[str]) -> dict[str, Any]:
    """Return the documents of a group or array, as a group above it copies them."""
    found = {name: read_json(where, name) for name in names}
    group = found.get("zarr.json")
    if group is None:
        return {f"{path}/{n}".lstrip("/"): said for n, said in found.items() if said is not None}
    if group.get("node_type") == "group":
        empty = {"kind": "inline", "must_understand": False, "metadata": {}}
        group["consolidated_metadata"] = empty
    return {path: group} if path else {}
