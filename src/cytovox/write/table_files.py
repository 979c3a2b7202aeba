"""Tables of objects or events in files of other programs: Parquet, CSV, TSV, FCS."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, OutputExistsError
from ..run.extras import require
from ..run.folder_sync import replaced_file
from .disk import storage_errors
from .fcs import write_fcs

__all__ = [
    "METADATA",
    "ObjectTable",
    "is_table",
    "metadata_beside",
    "refuse_foreign_table",
    "write_objects",
]

#: Key of the metadata of a Parquet file.
METADATA = b"cytovox"


@dataclass(slots=True, eq=False)
class ObjectTable:
    """Named columns of equal length, one row for each object; their units are "1" for none."""

    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    #: What columns are called for people, as far as that is more than their name.
    labels: dict[str, str] = field(default_factory=dict)

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
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return ObjectTable(columns, dict(self.units), self.labels)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a kind of table that can be written."""
    return Path(path).suffix.lower() in _WRITERS


def metadata_beside(path: Path) -> Path:
    """Return where units and labels are of a table that is text."""
    return path.with_name(f"{path.name}-metadata.json")


def write_objects(
    path: str | os.PathLike[str],
    tables: ObjectTable | Iterable[ObjectTable],
    *,
    recipe: Mapping[str, Any] | None = None,
) -> int:
    """Write a table as the end of its name says, all or nothing; return its number of rows."""
    final = Path(path)
    parts = iter([tables] if isinstance(tables, ObjectTable) else tables)
    if not is_table(final):
        hint = "take .parquet, .csv, .tsv or .fcs"
        raise OptionError(f"no table is written as '{final.suffix}'", hint=hint)
    write = _WRITERS[final.suffix.lower()]
    with storage_errors(final), replaced_file(final) as file:
        return write(file, final, parts, dict(recipe or {}))


def refuse_foreign_table(path: Path) -> None:
    """Raise an error if there is a file that was not written here."""
    if not path.is_file() or metadata_beside(path).is_file():
        return
    if path.suffix.lower() == ".parquet":
        require("volumes", "Parquet", "pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        with contextlib.suppress(pa.ArrowException, OSError):
            if METADATA in (pq.read_schema(path).metadata or {}):
                return
    raise OutputExistsError(
        "the table would replace a file that cytovox has not written",
        path=path,
        hint="name another one for the table, or remove it",
    )


def _write_parquet(
    out: BinaryIO, final: Path, parts: Iterator[ObjectTable], recipe: dict[str, Any]
) -> int:
    require("volumes", "Parquet", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(parts, ObjectTable())
    text = json.dumps({"units": first.units, "recipe": recipe}, default=str)
    schema = pa.schema(
        [
            pa.field(name, pa.from_numpy_dtype(first[name].dtype), metadata=_said_of(first, name))
            for name in first
        ],
        metadata={METADATA: text.encode()},
    )
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        table: ObjectTable | None = first
        while table is not None:
            columns = [_column(table[name]) for name in first]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(table)
            table = next(parts, None)
    return count


def _column(values: npt.NDArray[Any]) -> Any:
    """Return a column of a table; ``pa.array`` would load pandas, to ask if it is one of its."""
    import pyarrow as pa

    if values.dtype.kind not in "biuf":
        return pa.array(values)
    is_bool = values.dtype.kind == "b"
    stored = np.packbits(values, bitorder="little") if is_bool else np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(stored)])


def _said_of(table: ObjectTable, name: str) -> dict[str, str]:
    """Return the unit of a column, and its label if it has one."""
    label = {"label": table.labels[name]} if name in table.labels else {}
    return {"unit": table.units[name], **label}


def _write_text(
    out: BinaryIO,
    final: Path,
    parts: Iterator[ObjectTable],
    recipe: dict[str, Any],
    delimiter: str = ",",
) -> int:
    count = 0
    first: ObjectTable | None = None
    file = io.TextIOWrapper(out, "utf-8", newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
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
        **({} if delimiter == "," else {"dialect": {"delimiter": delimiter}}),
        "tableSchema": {
            "columns": [
                {
                    "name": name,
                    **({"titles": first.labels[name]} if name in first.labels else {}),
                    "datatype": kinds.get(first[name].dtype.kind, "integer"),
                    "unit": first.units[name],
                }
                for name in first
            ]
        },
        "recipe": recipe,
    }
    text = json.dumps(about, indent=1, default=str, ensure_ascii=False) + "\n"
    with replaced_file(metadata_beside(final)) as beside:
        beside.write(text.encode("utf-8"))
    return count


def _write_tsv(
    out: BinaryIO, final: Path, parts: Iterator[ObjectTable], recipe: dict[str, Any]
) -> int:
    return _write_text(out, final, parts, recipe, "\t")


def _write_fcs(
    out: BinaryIO, final: Path, parts: Iterator[ObjectTable], recipe: dict[str, Any]
) -> int:
    first = next(parts, ObjectTable())
    titles = {name: first.labels.get(name, "") for name in first}
    blocks = (list(part.columns.values()) for part in itertools.chain([first], parts))
    said = {"$FIL": final.name, **{str(key): str(value) for key, value in recipe.items()}}
    return write_fcs(out, titles, blocks, said)


#: What writes a table, by its suffix.
_WRITERS: dict[str, Callable[..., int]] = {
    ".parquet": _write_parquet,
    ".csv": _write_text,
    ".tsv": _write_tsv,
    ".fcs": _write_fcs,
}
