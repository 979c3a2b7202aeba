"""What features are called for people, with their units: as dclab and DCscope show them."""

from __future__ import annotations

import re

__all__ = ["label_of", "unit_of"]

_LABELS = {
    "area_cvx": "Convex area [px]",
    "area_msd": "Measured area [px]",
    "area_ratio": "Porosity (convex to measured area ratio)",
    "area_um": "Area [µm²]",
    "area_um_raw": "Area [µm²] of raw contour",
    "aspect": "Aspect ratio of bounding box",
    "bg_med": "Median frame background brightness [a.u.]",
    "bg_off": "Background offset [a.u.]",
    "bright_avg": "Brightness average [a.u.]",
    "bright_bc_avg": "Brightness average (bgc) [a.u.]",
    "bright_bc_sd": "Brightness SD (bgc) [a.u.]",
    "bright_perc_10": "10th Percentile of brightness (bgc)",
    "bright_perc_90": "90th Percentile of brightness (bgc)",
    "bright_sd": "Brightness SD [a.u.]",
    "circ": "Circularity",
    "deform": "Deformation",
    "deform_raw": "Deformation of raw contour",
    "eccentr_prnc": "Eccentricity of raw contour",
    "emodulus": "Young's modulus [kPa]",
    "flow_rate": "Flow rate [µLs⁻¹]",
    "frame": "Video frame number",
    "g_force": "Gravitational force in multiples of g",
    "index": "Index (Dataset)",
    "index_online": "Index (Online)",
    "inert_ratio_cvx": "Inertia ratio of convex contour",
    "inert_ratio_prnc": "Principal inertia ratio of raw contour",
    "inert_ratio_raw": "Inertia ratio of raw contour",
    "ml_class": "Most probable ML class",
    "nevents": "Number of events in the same image",
    "per_ratio": "Inverse Convexity (raw to convex perimeter ratio)",
    "per_um_raw": "Perimeter [µm] of raw contour",
    "pos_x": "Position along channel axis [µm]",
    "pos_y": "Position lateral in channel [µm]",
    "pressure": "Pressure [mPa]",
    "size_x": "Bounding box size x [µm]",
    "size_y": "Bounding box size y [µm]",
    "temp": "Chip temperature [°C]",
    "temp_amb": "Ambient temperature [°C]",
    "tilt": "Absolute tilt of raw contour",
    "time": "Time [s]",
    "volume": "Volume [µm³]",
    **{f"userdef{number}": f"User-defined {number}" for number in range(10)},
}
#: Measures of texture, each as mean and as range over four directions.
_TEXTURES = {
    "asm": "angular second moment",
    "con": "contrast",
    "cor": "correlation",
    "den": "difference entropy",
    "ent": "entropy",
    "f12": "First measure of correlation",
    "f13": "Second measure of correlation",
    "idm": "inverse difference moment",
    "sen": "sum entropy",
    "sva": "sum variance",
    "var": "variance",
}
#: What is measured of the peaks of a fluorescence channel.
_PEAKS = {
    "area": "area of peak [a.u.]",
    "dist": "distance between two first peaks [µs]",
    "max": "maximum [a.u.]",
    "npeaks": "number of peaks",
    "pos": "position of peak [µs]",
    "width": "width [µs]",
}


def label_of(feature: str) -> str:
    """Return the label of a feature; its name if it has none."""
    if (texture := re.fullmatch(r"tex_(\w+)_(avg|ptp)", feature)) and texture[1] in _TEXTURES:
        return f"Texture {_TEXTURES[texture[1]]} ({texture[2]})"
    if (peak := re.fullmatch(r"fl([123])_(\w+)", feature)) and peak[2] in _PEAKS:
        return f"FL-{peak[1]} {_PEAKS[peak[2]]}"
    return _LABELS.get(feature, feature)


def unit_of(feature: str) -> str:
    """Return the unit of a feature; "1" for none."""
    unit = re.search(r"\[(.+?)\]", label_of(feature))
    return "1" if unit is None else unit[1]
