"""The numbers of a report as files for programs: CSV, and what MultiQC reads."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import escaped
from .columns import Column

__all__ = ["multiqc_json", "sample_names", "summary_csv"]

#: With these, spreadsheets would take text for a formula.
_FORMULA = ("=", "+", "-", "@")


def summary_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV in UTF-8, a column for each key; what is None is left empty."""
    listed = list(rows)
    names = dict.fromkeys(key for row in listed for key in row)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in listed)
    return stream.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    """Return a value as text of one line that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = escaped(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def sample_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each file: without folder and suffix, where that is unambiguous."""
    stems = [Path(path).stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else path for stem, path in zip(stems, paths, strict=True)
    ]


def multiqc_json(
    rows: Mapping[str, Mapping[str, Any]], columns: Sequence[Column], kind: str
) -> bytes:
    """Return numbers by name of the sample as custom content of MultiQC, a table."""
    known = [c for c in columns if any(row.get(c.key) is not None for row in rows.values())]
    content = {
        "id": f"cytovox_{kind}",
        "section_name": f"cytovox: {kind}",
        "description": "Objects that were segmented and measured by cytovox.",
        "plot_type": "table",
        "pconfig": {
            "id": f"cytovox_{kind}_table",
            "title": f"cytovox: {kind}",
            "namespace": "cytovox",
            "col1_header": "Result",
        },
        "headers": {
            c.key: {
                "title": c.heading,
                "description": c.help,
                "format": f"{{:,.{c.decimals}f}}",
                "scale": False,
            }
            for c in known
        },
        # MultiQC puts names into its page as they are.
        "data": {
            html.escape(escaped(name)): {
                c.key: row[c.key] for c in known if row.get(c.key) is not None
            }
            for name, row in rows.items()
        },
    }
    return f"{json.dumps(content, indent=1, ensure_ascii=True)}\n".encode()
