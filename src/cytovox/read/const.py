"""Numbers and names of the formats, and the limits of what is read; each is said here only."""

from __future__ import annotations

__all__ = [
    "BITSHUFFLE",
    "BLOSC",
    "DEFLATE",
    "FILTERS",
    "FLETCHER",
    "FRAME_FEATURES",
    "HDF5_VERSIONS",
    "LZ4",
    "LZF",
    "MAX_CHUNK_BYTES",
    "MAX_FRAMES",
    "MAX_FRAME_BYTES",
    "MAX_RECORDED_CHUNK_BYTES",
    "MAX_TEXT_BYTES",
    "PROTECTED_FEATURES",
    "SHUFFLE",
    "SZIP",
    "VOLUME_FILES",
    "ZSTD",
]

#: Files that describe a volume: of zarr 3 and 2, N5 and precomputed.
VOLUME_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")

#: Oldest and newest format that is written; HDF5 1.10 and all later ones read it.
HDF5_VERSIONS = ("v110", "v110")

#: Scalar features that describe a frame, not an event.
FRAME_FEATURES = (
    "flow_rate",
    "frame",
    "g_force",
    "pressure",
    "temp",
    "temp_amb",
    "time",
    *(f"userdef{number}" for number in range(10)),
)
#: Scalar features that travel from input to output.
PROTECTED_FEATURES = ["bg_off", *FRAME_FEATURES]

#: Numbers under which filters are registered with HDF5.
DEFLATE, SHUFFLE, FLETCHER, SZIP, LZF = 1, 2, 3, 4, 32000
BLOSC, LZ4, BITSHUFFLE, ZSTD = 32001, 32004, 32008, 32015
#: Filters whose chunks are known to unpack to the size of a chunk before they do.
FILTERS = {
    DEFLATE: "gzip",
    SHUFFLE: "shuffle",
    FLETCHER: "fletcher32",
    SZIP: "szip",
    LZF: "lzf",
    BLOSC: "blosc",
    LZ4: "lz4",
    BITSHUFFLE: "bitshuffle",
    ZSTD: "zstd",
}

#: Largest chunk, unpacked [bytes]: the whole of it is in memory for one voxel of it.
MAX_CHUNK_BYTES = 1 << 30
#: Largest chunk of a recording, of which several features are read at a time [bytes].
MAX_RECORDED_CHUNK_BYTES = 1 << 28
#: Largest image of a recording [bytes].
MAX_FRAME_BYTES = 1 << 26
#: Most rows of any feature.
MAX_FRAMES = 1 << 28
#: Largest log, table or definition of a basin [bytes].
MAX_TEXT_BYTES = {"logs": 1 << 26, "tables": 1 << 28, "basins": 1 << 22}
