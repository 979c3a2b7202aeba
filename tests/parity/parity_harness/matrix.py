"""What is compared: inputs times settings, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

TAP: dict[str, Any] = {"basin_strategy": "tap"}


@dataclass(frozen=True, slots=True)
class Case:
    """One input with one choice of settings.

    Parameters
    ----------
    recording
        Name of the input.
    what
        What is special, for people.
    settings
        Keyword arguments of the job.
    quick
        Whether it is part of every test run, not only of the long comparison.
    repaired
        Beginnings of differences that are there on purpose, with the reason.
    """

    recording: str
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    repaired: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.recording}: {self.what}"


def thresh(value: float | None = None, **mask: Any) -> dict[str, Any]:
    kwargs: dict[str, Any] = {} if value is None else {"thresh": value}
    if mask:
        kwargs["kwargs_mask"] = mask
    return {"segmenter_kwargs": kwargs}


def sparse(**kwargs: Any) -> dict[str, Any]:
    return {"background_kwargs": kwargs}


def roll(**kwargs: Any) -> dict[str, Any]:
    return {"background_code": "rollmed", "background_kwargs": kwargs}


def gate(**kwargs: Any) -> dict[str, Any]:
    return {"gate_kwargs": kwargs}


def features(**kwargs: Any) -> dict[str, Any]:
    return {"feature_kwargs": kwargs}


def frames(mapping: Any) -> dict[str, Any]:
    return {"data_kwargs": {"index_mapping": mapping}}


COPY: dict[str, Any] = {"background_code": "copy"}
#: The peer makes this identifier of byte strings with their ``b'...'``. dclab
#: decodes them, and so finds that the peer's basins refer to another measurement.
RENAMED = {"b26306f4-f46e-bd6a-95a1-dba4de02a794": "12b4490f-6c58-13b1-bddd-5d8e2332b60b"}
FEW = {"kernel_size": 20, "split_time": 0.5}
NOTHING_TO_DO = {
    "@experiment:event count": "the peer says 0 when there was nothing to redo",
    "@pipeline:dcnum yield": "the peer says 0 when there was nothing to redo",
    "basins ": "a drained file stands alone; the peer's still refers to its input",
    "/basins": "a drained file stands alone; the peer's still refers to its input",
}
UNMAPPED = "the peer leaves out a map that counts from 0, and dclab refuses the basin"


def cases() -> Iterator[Case]:
    """Yield all cases; the names are unique."""
    yield from _every_recording()
    yield from _segmenter()
    yield from _background()
    yield from _measuring()
    yield from _frames()
    yield from _files()
    yield from _measured_before()


def _every_recording() -> Iterator[Case]:
    for base in ("cs23", "cs24", "legacy", "shapein"):
        yield Case(base, "defaults, drain", {}, quick=base in ("cs23", "shapein"))
        yield Case(base, "defaults, tap", TAP, quick=base == "cs24")
        yield Case(f"{base}_long", "defaults, drain")
        yield Case(f"{base}_long", "thresh -3, tap", {**thresh(-3), **TAP})
        yield Case(f"{base}_long_bg", "copy, drain", COPY)
        yield Case(f"{base}_long_bg", "copy, tap", {**COPY, **TAP})
    for base in ("cs23", "cs24", "legacy"):
        yield Case(base, "copy, drain", COPY, quick=base == "legacy")
        yield Case(base, "copy, tap", {**COPY, **TAP})
        yield Case(f"{base}_raw", "defaults, drain")


def _segmenter() -> Iterator[Case]:
    for value in (-3, -6, -12):
        for disk in (0, 2, 5):
            yield Case(
                "cs23_long_bg",
                f"thresh {value}, closing_disk {disk}",
                {**COPY, **thresh(value, closing_disk=disk)},
            )
    loose = {"clear_border": False, "fill_holes": False, "closing_disk": 0}
    yield Case(
        "cs24_short_bg",
        "thresh -3, closing_disk 5",
        {**COPY, **thresh(-3, closing_disk=5)},
        quick=True,
    )
    yield Case("legacy_long", "clear_border off", thresh(clear_border=False))
    yield Case("shapein_long", "clear_border off, thresh -3", thresh(-3, clear_border=False))
    yield Case("cs24_long", "fill_holes off", thresh(fill_holes=False))
    yield Case("cs23", "fill_holes off, closing_disk 1", thresh(fill_holes=False, closing_disk=1))
    yield Case("cs23", "no clean-up at all", thresh(-3, **loose), quick=True)
    yield Case("cs23_long", "no clean-up at all", thresh(-6, **loose))
    tiny = {**thresh(-2, **loose), **gate(size_thresh_mask=1)}
    yield Case("shapein", "specks, lines and single pixels", tiny, quick=True)
    yield Case("cs24_short", "specks, lines and single pixels, tap", {**tiny, **TAP})
    yield Case("contrast", "copy, grey values beyond 255 levels", COPY, quick=True)
    yield Case("contrast", "copy, no clean-up", {**COPY, **thresh(-20, **loose)})
    yield Case("shapein", "thresh -7.5, clear_border off", thresh(-7.5, clear_border=False))


def _background() -> Iterator[Case]:
    for kernel, split in ((10, 1.0), (200, 0.3), (37, 0.7), (1, 2.0)):
        yield Case(
            "cs24_long",
            f"sparsemed kernel_size {kernel}, split_time {split}",
            sparse(kernel_size=kernel, split_time=split),
        )
    for fraction in (1.0, 0.5, 0.9):
        yield Case(
            "cs23_long", f"frac_cleansing {fraction}", sparse(frac_cleansing=fraction, **FEW)
        )
    for value in (0.5, 2, 10):
        yield Case(
            "legacy_long", f"thresh_cleansing {value}", sparse(thresh_cleansing=value, **FEW)
        )
    short = {"kernel_size": 9, "split_time": 0.1}
    yield Case("cs24_short", "sparsemed, many images", sparse(**short), quick=True)
    yield Case("shapein_long", "sparsemed, many images", sparse(**FEW))
    yield Case("cs23_long", "offset_correction off", sparse(offset_correction=False, **FEW))
    yield Case("low", "30 rows, many images", sparse(**FEW))
    yield Case("flat", "13 rows, many images", {**sparse(**FEW), **thresh(clear_border=False)})
    yield Case("no_rate", "no time and no frame rate", sparse(split_time=0.01, kernel_size=9))
    yield Case("plain", "contiguous, frame instead of time", sparse(**short))
    stale = "stale bg_off in the input"
    yield Case(
        "cs24",
        f"offset_correction off, {stale}, drain",
        sparse(offset_correction=False),
        quick=True,
    )
    yield Case(
        "cs24", f"offset_correction off, {stale}, tap", {**sparse(offset_correction=False), **TAP}
    )
    yield Case("cs24", f"rollmed 6, {stale}, tap", {**roll(kernel_size=6), **TAP}, quick=True)
    yield Case("cs24", f"rollmed 6, {stale}, drain", roll(kernel_size=6))
    yield Case("cs23", "rollmed 10", roll(kernel_size=10, batch_size=15))
    yield Case("cs24_short", "rollmed 20", roll(kernel_size=20))
    yield Case("shapein_long", "rollmed 50, tap", {**roll(kernel_size=50, batch_size=300), **TAP})


def _measuring() -> Iterator[Case]:
    yield Case(
        "cs24_short", "haralick off", {**features(haralick=False), **sparse(split_time=0.5)}
    )
    yield Case("legacy", "brightness off", features(brightness=False))
    yield Case("cs23", "volume off", features(volume=False))
    off = features(brightness=False, haralick=False, volume=False)
    yield Case("shapein", "contour features only", off, quick=True)
    yield Case("cs23_long", "size_thresh_mask 200", gate(size_thresh_mask=200))
    yield Case(
        "cs23",
        "size_thresh_mask 0 and no clean-up",
        {
            **gate(size_thresh_mask=0),
            **thresh(-3, clear_border=False, fill_holes=False, closing_disk=0),
        },
    )
    yield Case(
        "legacy", "size_thresh_mask 1", {**gate(size_thresh_mask=1), **thresh(closing_disk=0)}
    )
    online = gate(online_gates=True)
    yield Case("gates_hard", "online gates, hard area", online, quick=True)
    yield Case("gates_soft", "online gates, soft area", online)
    yield Case("gates_area", "online gates, smallest mask", online)
    yield Case("gates_all", "online gates and smallest mask, tap", {**online, **TAP})
    yield Case(
        "gates_all",
        "online gates, size_thresh_mask 0",
        gate(online_gates=True, size_thresh_mask=0),
    )
    yield Case("gates_all", "online gates present but off")
    yield Case("gates_none_left", "online gates leave nothing", online)
    yield Case("gates_none_left", "online gates leave nothing, tap", {**online, **TAP})


def _frames() -> Iterator[Case]:
    yield Case("cs24", "first 7 frames, tap", {**frames(7), **TAP}, quick=True)
    yield Case("cs23_long", "first 333 frames", frames(333))
    yield Case("cs24", "every other frame, drain", frames(slice(2, 11, 2)))
    yield Case("cs23_long", "frames 100 to 400 by 3, tap", {**frames(slice(100, 400, 3)), **TAP})
    yield Case("cs24", "four frames, tap", {**frames([1, 2, 5, 9]), **TAP})
    yield Case(
        "shapein_long", "list of frames, drain", frames(list(range(3, 590, 7))), quick=False
    )
    yield Case(
        "cs24",
        "stale bg_off, first 7 frames, tap",
        {
            **frames(7),
            **TAP,
            **sparse(offset_correction=False),
        },
    )
    yield Case("cs23", "copy, list of frames", {**COPY, **frames([0, 1, 2, 8, 20, 39])})
    yield Case("chunks", "2300 frames, defaults")
    yield Case(
        "chunks", "2300 frames, frames 3 to 2290 by 2, tap", {**frames(slice(3, 2290, 2)), **TAP}
    )
    yield Case("duplicates", "repeated frames", sparse(split_time=0.3, kernel_size=9), quick=True)
    yield Case(
        "duplicates",
        "repeated frames, mapped, tap",
        {
            **sparse(split_time=0.3, kernel_size=9),
            **frames(slice(4, 70, 1)),
            **TAP,
        },
    )


def _files() -> Iterator[Case]:
    empty = thresh(-200)
    yield Case("cs24", "no event, drain", empty, quick=True)
    yield Case("cs24", "no event, tap", {**empty, **TAP})
    yield Case("cs24", "no event, copy, tap", {**empty, **COPY, **TAP})
    yield Case("cs24_short", "no event, rollmed, drain", {**empty, **roll(kernel_size=6)})
    yield Case("cs24", "no event, first 7 frames, tap", {**empty, **TAP, **frames(7)})
    yield Case("cs24", "compression none", {"compression": "none"})
    yield Case("cs24", "compression none, copy, tap", {"compression": "none", **COPY, **TAP})
    yield Case("cs23", "compression zstd-1", {"compression": "zstd-1"})
    yield Case("shapein", "compression zstd-9, tap", {"compression": "zstd-9", **TAP})
    yield Case(
        "shapein", "pixel_size given", {"data_kwargs": {"pixel_size": 0.123456789123}}, quick=True
    )
    for size in (0.2551, 0.3479476):
        yield Case("cs23", f"pixel_size {size}", {"data_kwargs": {"pixel_size": size}})
    yield Case("cs24", "pixel_size 1", {"data_kwargs": {"pixel_size": 1}})
    yield Case("extras", "many frame features, logs and tables, drain")
    yield Case("extras", "many frame features, logs and tables, tap", TAP)
    yield Case("no_identifier", "nothing to identify it by, drain")
    yield Case("no_identifier", "nothing to identify it by, tap", TAP)
    yield Case(
        "one_each",
        "exactly one event a frame, tap",
        TAP,
        repaired={
            "events/basinmap1 shape": "the peer stores this map with a second axis",
            "events/basinmap1 chunks": "the peer stores this map with a second axis",
            **{f"basins {name}:": UNMAPPED for name in ("image", "frame", "temp", "time")},
        },
    )
    yield Case(
        "one_each", "first 6 of 8 frames, one event each, drain", frames([0, 1, 2, 3, 4, 5])
    )


def _measured_before() -> Iterator[Case]:
    other = {**COPY, **thresh(-3)}
    yield Case("measured_copy", "other threshold, background kept, drain", other)
    yield Case("measured_copy", "other threshold, background kept, tap", {**other, **TAP})
    yield Case("measured_copy", "other background, drain", sparse(kernel_size=5))
    yield Case("measured_copy", "nothing to redo, drain", COPY, repaired=NOTHING_TO_DO)
    yield Case(
        "measured_rollmed",
        "other gate, background kept, drain",
        {
            **roll(kernel_size=10),
            **gate(size_thresh_mask=50),
        },
    )
    yield Case(
        "measured_rollmed",
        "frames 3 to 20, background redone, tap",
        {
            **roll(kernel_size=10),
            **frames(slice(3, 20, 1)),
            **TAP,
        },
    )
    yield Case("measured_sparse", "copy of an internal background, drain", COPY)
    yield Case("measured_sparse", "copy of an internal background, tap", {**COPY, **TAP})
    yield Case(
        "measured_tap",
        "copy, other threshold, tapped twice",
        {**other, **TAP},
        repaired={
            f"basins {name}: only in ours": "the peer loses what the input only refers to"
            for name in ("image", "frame", "temp", "time")
        },
    )
