"""Tables of objects: to be read, gated and joined.

Conditions on columns are read as words and never run as code.
"""

from __future__ import annotations

import ast
import difflib
import json
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, StorageError
from ..run.extras import require
from ..write.table_files import METADATA, ObjectTable, write_objects

__all__ = [
    "ObjectTable",
    "axis_names",
    "columns_of",
    "gate_rows",
    "iter_objects_of",
    "join_tables",
    "read_objects",
    "write_objects",
]


def axis_names(ndim: int) -> tuple[str, ...]:
    """Return the usual names of axes."""
    return tuple("tzyx"[-ndim:]) if ndim <= 4 else tuple(f"d{i}" for i in range(ndim))


def join_tables(parts: Sequence[ObjectTable]) -> ObjectTable:
    """Return tables of the same columns one below the other."""
    names = list(parts[0])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return ObjectTable(columns, dict(parts[0].units))


def read_objects(path: str | os.PathLike[str]) -> tuple[ObjectTable, dict[str, Any]]:
    """Read a table (``.parquet``) and its recipe."""
    parts, recipe = iter_objects_of(path)
    return join_tables([*parts]), recipe


def iter_objects_of(
    path: str | os.PathLike[str], columns: Sequence[str] | None = None
) -> tuple[Iterator[ObjectTable], dict[str, Any]]:
    """Return the parts in which a table (``.parquet``) is stored, and its recipe."""
    require("volumes", "Parquet", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as err:
        raise _unreadable(err, path) from err
    about = json.loads((file.schema_arrow.metadata or {}).get(METADATA, b"{}"))
    names = file.schema_arrow.names
    for name in columns or ():
        if name not in names:
            raise OptionError(f"there is no column '{name}'", hint=", ".join(names))
    wanted = list(names if columns is None else columns)
    units = {name: about.get("units", {}).get(name, "1") for name in wanted}

    return _parts_of(file, wanted, units, path), about.get("recipe", {})


def _parts_of(
    file: Any, wanted: list[str], units: dict[str, str], path: str | os.PathLike[str]
) -> Iterator[ObjectTable]:
    import pyarrow as pa

    groups = [[number] for number in range(file.num_row_groups)] or [[]]
    for group in groups:
        try:
            table = file.read_row_groups(group, wanted)
        except (OSError, pa.ArrowInvalid) as err:
            raise _unreadable(err, path) from err
        yield ObjectTable({name: table.column(name).to_numpy() for name in wanted}, units)


def _unreadable(err: Exception, path: str | os.PathLike[str]) -> StorageError:
    return StorageError(f"the table cannot be read: {err}", path=path)


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
