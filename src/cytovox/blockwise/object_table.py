"""A table of objects: named columns with units, to be gated and written.

Conditions on columns are read as words and never run as code.
"""

from __future__ import annotations

import ast
import csv
import difflib
import io
import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    "columns_of",
    "gate_rows",
    "is_table",
    "join_tables",
    "read_objects",
    "write_objects",
]

#: Key of the metadata of a Parquet file.
METADATA = b"cytovox"


@dataclass(slots=True, eq=False)
class ObjectTable:
    """Named columns of equal length, one row for each object; their units are "1" for none."""

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


#: Characters of a condition.
_LONGEST = 2000

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def gate_rows(columns: Mapping[str, npt.NDArray[Any]], condition: str) -> npt.NDArray[np.bool_]:
    """Tell which rows fulfil a condition."""
    tree = _parse(condition)
    length = len(next(iter(columns.values()), ()))
    with np.errstate(divide="ignore", invalid="ignore"):
        result = _truth(_Reader(columns, condition), tree)
    return np.broadcast_to(result, (length,)).copy()


def columns_of(condition: str) -> set[str]:
    """Return the names that a condition uses, e.g. to check them before work begins."""
    return {node.id for node in ast.walk(_parse(condition)) if isinstance(node, ast.Name)}


def _parse(condition: str) -> ast.expr:
    hint = "write for example 'voxels > 100 and mean_intensity < 3'"
    if len(condition) > _LONGEST:
        raise OptionError(f"the condition is longer than {_LONGEST} characters", hint=hint)
    try:
        return ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise OptionError(f"the condition '{condition}' cannot be read", hint=hint) from err


class _Reader:
    """The columns that a condition may name, and the text for errors."""

    def __init__(self, columns: Mapping[str, npt.NDArray[Any]], text: str) -> None:
        self.columns = columns
        self.text = text

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column by its name."""
        if name in self.columns:
            return self.columns[name]
        close = difflib.get_close_matches(name, self.columns, 3)
        known = f"did you mean {' or '.join(close)}?" if close else ", ".join(self.columns)
        raise OptionError(f"there is no column '{name}'", hint=known)

    def refuse(self, node: ast.expr, what: str) -> OptionError:
        """Return the error for a part that is not allowed."""
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        return OptionError(
            f"'{part}' {what}",
            hint="a condition compares columns and numbers, joined by and, or, not",
        )


def _truth(reader: _Reader, node: ast.expr) -> Any:
    """Return the truth of an expression, bool of shape (n,) or a single one."""
    if isinstance(node, ast.BoolOp):
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        result = _truth(reader, node.values[0])
        for value in node.values[1:]:
            result = join(result, _truth(reader, value))
        return result
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return np.logical_not(_truth(reader, node.operand))
    if isinstance(node, ast.Compare):
        values = [_number(reader, part) for part in (node.left, *node.comparators)]
        result = True
        for compare, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(compare) not in _COMPARE:
                raise reader.refuse(node, "is not a comparison of numbers")
            result = np.logical_and(result, _COMPARE[type(compare)](left, right))
        return result
    if isinstance(node, ast.Name):
        values_of = reader.column(node.id)
        if values_of.dtype.kind == "b":
            return values_of
    raise reader.refuse(node, "is neither true nor false")


def _number(reader: _Reader, node: ast.expr) -> Any:
    """Return the value of an expression, of shape (n,) or a single one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        return node.value if isinstance(node.value, bool) else float(node.value)
    if isinstance(node, ast.Name):
        values = reader.column(node.id)
        # Unsigned integers would wrap where one is subtracted from another.
        return values.astype(np.float64) if values.dtype.kind in "iu" else values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = np.asarray(_number(reader, node.operand), np.float64)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = (np.asarray(_number(reader, n), np.float64) for n in (node.left, node.right))
        return _BINARY[type(node.op)](left, right)
    raise reader.refuse(node, "is not allowed")
