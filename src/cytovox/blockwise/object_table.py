"""A table of objects: named columns with units, to be gated and written."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, StorageError
from ..run.folder_sync import replaced_file

__all__ = [
    "ObjectTable",
    "axis_names",
    "is_table",
    "join_tables",
    "read_objects",
    "write_objects",
]

#: Key of the metadata of a Parquet file.
METADATA = b"cytovox"


@dataclass(slots=True, eq=False)
class ObjectTable:
    """Named columns of equal length, one row for each object.

    Parameters
    ----------
    columns
        Arrays of shape (n,) by name.
    units
        Unit of each column; ``"1"`` for what has none.
    """

    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, values: npt.NDArray[Any], unit: str) -> None:
        """Add a column."""
        self.columns[name] = np.ascontiguousarray(values)
        self.units[name] = unit

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def rows(self, chosen: npt.NDArray[Any]) -> ObjectTable:
        """Return some rows, by a mask or by their places."""
        return ObjectTable({k: v[chosen] for k, v in self.columns.items()}, dict(self.units))

    def gate(self, condition: str | None) -> ObjectTable:
        """Return the rows that fulfil a condition, e.g. ``"voxels > 100"``.

        See `cytovox.blockwise.object_gate.gate_rows`; None returns all.
        """
        from .object_gate import gate_rows

        return self if condition is None else self.rows(gate_rows(self.columns, condition))


def axis_names(ndim: int) -> tuple[str, ...]:
    """Return the usual names of axes."""
    return tuple("tzyx"[-ndim:]) if ndim <= 4 else tuple(f"d{i}" for i in range(ndim))


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a kind of table that can be written."""
    return Path(path).suffix.lower() in _WRITERS


def join_tables(parts: Sequence[ObjectTable]) -> ObjectTable:
    """Return tables of the same columns one below the other."""
    names = list(parts[0])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return ObjectTable(columns, dict(parts[0].units))


def write_objects(
    path: str | os.PathLike[str],
    tables: ObjectTable | Iterable[ObjectTable],
    *,
    recipe: Mapping[str, Any] | None = None,
) -> int:
    """Write a table, all or nothing."""
    final = Path(path)
    parts = iter([tables] if isinstance(tables, ObjectTable) else tables)
    if not is_table(final):
        raise OptionError(f"no table is written as '{final.suffix}'", hint="take .parquet or .csv")
    write = _WRITERS[final.suffix.lower()]
    try:
        with replaced_file(final) as file:
            count = write(file, final, parts, dict(recipe or {}))
    except OSError as err:
        raise StorageError(f"the table cannot be written: {err}", path=final) from err
    return count


def _write_parquet(
    out: BinaryIO, final: Path, parts: Iterator[ObjectTable], recipe: dict[str, Any]
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(parts, ObjectTable())
    text = json.dumps({"units": first.units, "recipe": recipe}, default=str)
    schema = pa.schema(
        [
            pa.field(name, pa.from_numpy_dtype(first[name].dtype), metadata={"unit": unit})
            for name, unit in first.units.items()
        ],
        metadata={METADATA: text.encode()},
    )
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        table: ObjectTable | None = first
        while table is not None:
            columns = [pa.array(table[name]) for name in first]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(table)
            table = next(parts, None)
    return count


def _write_csv(
    out: BinaryIO, final: Path, parts: Iterator[ObjectTable], recipe: dict[str, Any]
) -> int:
    count = 0
    first: ObjectTable | None = None
    file = io.TextIOWrapper(out, "utf-8", newline="")
    writer = csv.writer(file, lineterminator="\n")
    for table in parts:
        if first is None:
            first = table
            writer.writerow(table.columns)
        writer.writerows(zip(*(c.tolist() for c in table.columns.values()), strict=True))
        count += len(table)
    file.detach()
    first = first or ObjectTable()
    kinds = {"f": "double", "b": "boolean"}
    about = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": final.name,
        "tableSchema": {
            "columns": [
                {
                    "name": name,
                    "datatype": kinds.get(first[name].dtype.kind, "integer"),
                    "unit": unit,
                }
                for name, unit in first.units.items()
            ]
        },
        "recipe": recipe,
    }
    beside = final.with_name(f"{final.name}-metadata.json")
    beside.write_text(json.dumps(about, indent=1, default=str) + "\n", encoding="utf-8")
    return count


#: What writes a table, by its suffix.
_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv}


def read_objects(path: str | os.PathLike[str]) -> tuple[ObjectTable, dict[str, Any]]:
    """Read a table (``.parquet``) and its recipe."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as err:
        raise StorageError(f"the table cannot be read: {err}", path=path) from err
    about = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return ObjectTable(columns, about.get("units", {})), about.get("recipe", {})
