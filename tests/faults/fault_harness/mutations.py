"""Changing files in small and nasty ways, each time the same for the same seed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["mutate_bytes", "mutate_file", "mutate_hdf5", "mutate_json", "mutate_tree"]

#: Numbers at which programs like to break, as bytes and in JSON.
_NUMBERS = (0, 1, -1, 7, 127, 128, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, *_NUMBERS, -(2**63), 2**64, 1e308, -0.5, 1e-300),
    *(float("nan"), float("inf"), "", "x", "../../etc", "é\u2028\0", "9" * 400, "null", "uint8"),
    *([], {}, [0], [[]], [-1, -1, -1], {"a": {}}, [None] * 3, [1] * 40),
)
Region = tuple[int, int]


def mutate_bytes(
    content: bytes,
    rng: random.Random,
    regions: Sequence[Region] = (),
    other: bytes = b"",
) -> bytes:
    """Change bytes: flip, overwrite, cut, insert, repeat, swap, take from another file.

    Parameters
    ----------
    content
        What is changed.
    rng
        Decides.
    regions
        Where to do it, begin and end of each; anywhere if there are none.
    other
        Content of another file, of which parts may be taken.
    """
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            return rng.randbytes(rng.randint(0, 64))
        at = _place(len(data), rng, regions)
        rng.choice(_CHANGES)(data, at, rng, other)
    return bytes(data)


def _place(size: int, rng: random.Random, regions: Sequence[Region]) -> int:
    if not regions:
        return rng.randrange(size)
    begin, end = rng.choice(regions)
    return min(size - 1, rng.randrange(begin, max(begin + 1, end)))


def _flip(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    size = rng.choice((1, 1, 2, 4, 8, 16))
    new = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    data[at : at + size] = new[: len(data) - at]


def _number(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    size = rng.choice((2, 4, 8))
    at -= at % size
    value = rng.choice(_NUMBERS) % (1 << 8 * size)
    order: Any = rng.choice(("little", "little", "big"))
    data[at : at + size] = value.to_bytes(size, order)[: len(data) - at]


def _nudge(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at] = (data[at] + rng.choice((-1, 1))) % 256


def _cut(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    del data[at:]


def _drop(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    del data[at : at + rng.choice((1, 4, 100, 4096))]


def _zero(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    size = min(rng.choice((64, 512, 4096)), len(data) - at)
    data[at : at + size] = bytes(size)


def _insert(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data[at:at] = rng.randbytes(rng.choice((1, 8, 512)))


def _repeat(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    size = rng.choice((8, 64, 512))
    source = rng.randrange(len(data))
    part = bytes(data[source : source + size])
    data[at : at + len(part)] = part[: len(data) - at]


def _swap(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    size = rng.choice((8, 64, 512))
    there = rng.randrange(len(data))
    begin, end = sorted((at, there))
    if end - begin < size or end + size > len(data):
        return
    one, two = bytes(data[begin : begin + size]), bytes(data[end : end + size])
    data[begin : begin + size], data[end : end + size] = two, one


def _splice(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    if rng.random() < 0.5:
        data[at:] = other[at:]
    else:
        part = other[at : at + 512]
        data[at : at + len(part)] = part[: len(data) - at]


def _append(data: bytearray, at: int, rng: random.Random, other: bytes) -> None:
    data += rng.choice((bytes(100), rng.randbytes(100), bytes(data[:100])))


_CHANGES: tuple[Callable[[bytearray, int, random.Random, bytes], None], ...] = (
    *(_flip, _flip, _overwrite, _overwrite, _number, _number, _nudge),
    *(_cut, _drop, _zero, _insert, _repeat, _swap, _splice, _append),
)


def mutate_json(value: Any, rng: random.Random) -> Any:
    """Change the structure of what JSON tells: values, types, keys, depth.

    Parameters
    ----------
    value
        As it was read; it is changed in place where it can be.
    rng
        Decides.
    """
    places = list(_places(value))
    if not places:
        return rng.choice(_VALUES)
    for holder, key in rng.sample(places, min(len(places), rng.choice((1, 1, 1, 2, 4)))):
        what = rng.randrange(8)
        try:
            if what < 4:
                holder[key] = rng.choice(_VALUES)
            elif what == 4:
                del holder[key]
            elif what == 5:
                holder[key] = [holder[key]] * rng.choice((0, 1, 2, 50))
            elif what == 6:
                holder[key] = {"x": holder[key]}
            elif isinstance(holder[key], (int, float)):
                holder[key] = holder[key] * rng.choice((-1, 2, 1000)) + rng.choice((0, 1))
            elif isinstance(holder[key], str):
                holder[key] = holder[key][::-1]
            elif isinstance(holder, dict):
                holder[key + "_"] = holder.pop(key)
        except (KeyError, IndexError, OverflowError):
            continue  # an earlier change has removed it
    return value


def _places(value: Any) -> Any:
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _mutate_json_text(content: bytes, rng: random.Random) -> bytes | None:
    """Change a JSON document, or some lines of a file of them; None if it is neither."""
    try:
        return json.dumps(mutate_json(json.loads(content), rng)).encode()
    except ValueError:
        pass
    lines = content.splitlines(keepends=True)
    if len(lines) < 2 or not lines[0].startswith(b"{"):
        return None
    what = rng.randrange(5)
    at = rng.randrange(len(lines))
    if what == 0:
        rng.shuffle(lines)
    elif what == 1:
        del lines[at]
    elif what == 2:
        lines.insert(at, rng.choice(lines))
    else:
        try:
            lines[at] = json.dumps(mutate_json(json.loads(lines[at]), rng)).encode() + b"\n"
        except ValueError:
            lines[at] = rng.randbytes(20) + b"\n"
    return b"".join(lines)


def mutate_file(path: Path, rng: random.Random, other: bytes = b"") -> str:
    """Change a file in some way that fits what it is; return what was done.

    Parameters
    ----------
    path
        The file.
    rng
        Decides.
    other
        Content of another file.
    """
    content = path.read_bytes()
    if rng.random() < 0.6:
        changed = _mutate_json_text(content, rng)
        if changed is not None:
            path.write_bytes(changed)
            return f"JSON of {path.name}"
    regions = _outside_of_chunks(path) if rng.random() < 0.7 else ()
    path.write_bytes(mutate_bytes(content, rng, regions, other))
    return f"bytes of {path.name}"


def mutate_tree(folder: Path, rng: random.Random, *, folders: bool = True) -> str:
    """Change, delete, exchange or add files of a folder; return what was done.

    Parameters
    ----------
    folder
        The folder.
    rng
        Decides.
    folders
        Whether there may be folders in the place of files.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Documents are few, and decide more than chunks.
    kinds = sorted({path.suffix or path.name[:4] for path in files})
    kind = rng.choice(kinds)
    chosen = rng.choice([path for path in files if (path.suffix or path.name[:4]) == kind])
    name = chosen.relative_to(folder).as_posix()
    what = rng.randrange(12)
    if what == 0:
        chosen.unlink()
        return f"{name} deleted"
    if what == 1:
        other = rng.choice(files)
        shutil.copy(other, chosen) if other != chosen else chosen.write_bytes(b"")
        return f"{name} exchanged"
    if what == 2 and folders:
        chosen.unlink()
        chosen.mkdir()
        return f"{name} is a folder"
    if what == 3:
        shutil.rmtree(chosen.parent)
        return f"folder of {name} deleted"
    if chosen.name == "journal.jsonl" or rng.random() < 0.8:
        mutate_file(chosen, rng, rng.choice(files).read_bytes())
        return f"{name} changed"
    return " and ".join(
        f"{path.name} changed"
        for path in rng.sample(files, min(3, len(files)))
        if mutate_file(path, rng)
    )


def _outside_of_chunks(path: Path) -> list[Region]:
    """Return where a file of HDF5 keeps what is not data; nothing for other files."""
    if not h5py.is_hdf5(path):
        return []
    taken: list[Region] = []

    def look(_name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            if found.chunks:
                chunks = (found.id.get_chunk_info(i) for i in range(found.id.get_num_chunks()))
                taken.extend((c.byte_offset, c.byte_offset + c.size) for c in chunks)
            elif found.id.get_offset() is not None:
                begin = found.id.get_offset()
                taken.append((begin, begin + found.id.get_storage_size()))

    try:
        with h5py.File(path, "r") as h5:
            h5.visititems(look)
    except Exception:  # noqa: BLE001 - it was changed before
        return []
    free, at = [], 0
    for begin, end in sorted(taken):
        if begin > at:
            free.append((at, begin))
        at = max(at, end)
    if at < path.stat().st_size:
        free.append((at, path.stat().st_size))
    return free


#: What HDF5 refuses to do, or what there is nothing of to do it to.
_NOT_POSSIBLE = (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError)


def mutate_hdf5(path: Path, rng: random.Random) -> str:
    """Let a file of HDF5 say something else, as its own library writes it.

    Parameters
    ----------
    path
        The file.
    rng
        Decides.
    """
    with h5py.File(path, "r+") as h5:
        names: list[str] = []
        h5.visit(names.append)
        done = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            name = rng.choice([*names, "/"])
            change = rng.choice(_LIES)
            try:
                change(h5, name, rng)
            except _NOT_POSSIBLE:
                continue
            done.append(f"{change.__name__[1:]} {name}")
    return ", ".join(done) or "nothing"


def _attribute(h5: h5py.File, name: str, rng: random.Random) -> None:
    owner = rng.choice((h5, h5, h5, h5[name]))
    keys = [*owner.attrs, "experiment:event count", "imaging:pixel size", "pipeline:dcnum hash"]
    key = rng.choice(keys)
    what = rng.randrange(6)
    if what == 0:
        owner.attrs.pop(key)
    elif what == 1:
        owner.attrs[key] = rng.choice([v for v in _VALUES if isinstance(v, (int, float, str))])
    elif what == 2:
        owner.attrs[key] = h5py.Empty("f8")
    elif what == 3:
        owner.attrs[key] = np.arange(rng.choice((0, 1, 3, 100)))
    elif what == 4:
        owner.attrs[key] = np.bytes_(rng.randbytes(9))
    else:
        owner.attrs.create(key, np.void(rng.randbytes(8)))


def _count(h5: h5py.File, name: str, rng: random.Random) -> None:
    before = int(h5.attrs["experiment:event count"])
    h5.attrs["experiment:event count"] = before + rng.choice((-before, -1, 1, 1000, 2**40))


def _delete(h5: h5py.File, name: str, rng: random.Random) -> None:
    del h5[name]


def _other_dataset(h5: h5py.File, name: str, rng: random.Random) -> None:
    shape = h5[name].shape
    changed = tuple(rng.choice((n, n, n, n + 1, max(0, n - 1), 0, 1)) for n in shape)
    if rng.random() < 0.3:
        changed = rng.choice((changed[1:], (*changed, 2), (), changed[::-1]))
    dtype = rng.choice(("u1", "u1", "i1", "u2", ">u2", "i8", "f2", "f4", "f8", "c8", "?", "S3"))
    options: dict[str, Any] = {}
    if changed and rng.random() < 0.7:
        options["chunks"] = tuple(rng.randint(1, max(1, n)) for n in changed)
        options["fletcher32"] = rng.random() < 0.5
        options["compression"] = rng.choice((None, "gzip", "lzf"))
    del h5[name]
    values = np.random.default_rng(rng.randrange(99)).integers(0, 255, changed).astype(dtype)
    if dtype in ("f4", "f8") and values.size and values.ndim:
        values.flat[0] = rng.choice((np.nan, np.inf, 0))
    h5.create_dataset(name, data=values, **options)


def _resized(h5: h5py.File, name: str, rng: random.Random) -> None:
    rows = len(h5[name])
    h5[name].resize(rng.choice((0, 1, rows - 1, rows + 1, rows * 100, 2**40)), axis=0)


def _values(h5: h5py.File, name: str, rng: random.Random) -> None:
    dataset = h5[name]
    if dataset.dtype.kind in "iu":
        info = np.iinfo(dataset.dtype)
        dataset[rng.randrange(len(dataset))] = rng.choice((info.min, info.max, 0))
    elif dataset.dtype.kind == "f":
        dataset[...] = rng.choice((np.nan, np.inf, -1.0, 0.0))
    else:
        dataset[rng.randrange(len(dataset))] = rng.randbytes(9)


def _to_group(h5: h5py.File, name: str, rng: random.Random) -> None:
    del h5[name]
    h5.create_group(name)


def _to_link(h5: h5py.File, name: str, rng: random.Random) -> None:
    names: list[str] = []
    h5.visit(names.append)
    del h5[name]
    target = rng.choice(("/nothing", "/", f"/{name}", f"/{rng.choice(names)}", "."))
    if rng.random() < 0.5 and target in h5:
        h5[name] = h5[target]
    else:
        h5[name] = h5py.SoftLink(target)


def _text(h5: h5py.File, name: str, rng: random.Random) -> None:
    """Change the definition of a basin, or a log."""
    found = [f"{group}/{key}" for group in ("basins", "logs") for key in h5.get(group, ())]
    chosen = rng.choice(found)
    content = b"\n".join(bytes(line) for line in h5[chosen][()])
    changed = _mutate_json_text(content, rng) if rng.random() < 0.8 else None
    if changed is None:
        changed = mutate_bytes(content, rng)
    del h5[chosen]
    h5[chosen] = np.array([line.replace(b"\0", b"0") or b" " for line in changed.split(b"\n")])


def _copied(h5: h5py.File, name: str, rng: random.Random) -> None:
    new = rng.choice(("events/mask", "events/image_bg", "events/index", "events/nevents"))
    if new in h5:
        del h5[new]
    h5.copy(h5[name], new)


_LIES: tuple[Callable[[h5py.File, str, random.Random], None], ...] = (
    *(_attribute, _attribute, _count, _delete, _other_dataset, _other_dataset, _resized),
    *(_values, _to_group, _to_link, _text, _text, _copied),
)
