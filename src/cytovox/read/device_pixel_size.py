"""The pixel size of recordings of devices that are known to store a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hdf5_data import HDF5Data

__all__ = ["find_pixel_size"]

#: How the identifiers of these devices begin.
_MAKER = "RC-"
#: Pixel sizes [µm] that such a device can have: these are taken as they are stored.
_PLAUSIBLE = (0.255, 0.275)
#: Pixel size [µm] of the camera of each device.
_OF_DEVICE = {"naiad 1.0": 0.2645, "naiad 1.1": 0.2675}
#: The log that names the device, how its line begins, and the device if no line does.
_LOG, _LINE, _OLDEST = "cytoshot-acquisition", "device name:", "naiad 1.0"


def find_pixel_size(data: HDF5Data) -> tuple[float, str | None]:
    """Return the pixel size [µm] to measure with, and in words why the stored one is in doubt."""
    stored = data.pixel_size
    of_maker = str(data.meta.get("setup:identifier", "")).startswith(_MAKER)
    if not of_maker or not (stored < _PLAUSIBLE[0] or stored > _PLAUSIBLE[1]):
        return stored, None
    lines = [line.strip().lower() for line in data.logs.get(_LOG, [])]
    named = (line.split(":")[1].strip() for line in lines if line.startswith(_LINE))
    device = next(named, _OLDEST)
    wrong = f"the stored pixel size of {stored:g} um is not that of this kind of device"
    if device not in _OF_DEVICE:
        return stored, f"{wrong}; it is kept, because the device '{device[:80]}' is not known"
    return _OF_DEVICE[device], f"{wrong} ('{device}')"
