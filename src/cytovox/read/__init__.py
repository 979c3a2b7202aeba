"""Read recordings, chunk by chunk, wherever their features are kept."""

from ..errors import BasinIdentifierMismatchError
from .cache import EmptyDatasetWarning, HDF5ImageCache, ImageCorrCache
from .const import PROTECTED_FEATURES
from .detect_flicker import detect_flickering
from .hdf5_concat import concatenated_hdf5_data
from .hdf5_data import HDF5Data
from .identifier import get_measurement_identifier, md5sum
from .mapped import MappedHDF5Dataset, get_mapped_object, get_mapping_indices
from .open_volume import open_volume
from .permissions import Permissions, RefusedInputError
from .volume import Volume
from .volume_view import VolumeView

__all__ = [
    "PROTECTED_FEATURES",
    "BasinIdentifierMismatchError",
    "EmptyDatasetWarning",
    "HDF5Data",
    "HDF5ImageCache",
    "ImageCorrCache",
    "MappedHDF5Dataset",
    "Permissions",
    "RefusedInputError",
    "Volume",
    "VolumeView",
    "concatenated_hdf5_data",
    "detect_flickering",
    "get_mapped_object",
    "get_mapping_indices",
    "get_measurement_identifier",
    "md5sum",
    "open_volume",
]
