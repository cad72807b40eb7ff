"""Images, masks and folders of them: read, checked, split."""

from frugalseg.images.dataset import LAYOUTS, open_dataset
from frugalseg.images.decode import read_image
from frugalseg.images.headers import Header, read_header
from frugalseg.images.labels import read_label_map, write_image, write_label_map
from frugalseg.images.listing import write_listing
from frugalseg.images.names import IMAGE_SUFFIXES, image_stem, is_image_name, is_mask_name, masked_stem
from frugalseg.images.objects import median_object_diameter
from frugalseg.images.samples import Dataset, LoadedSample, Sample, WindowReader, load_image, load_sample
from frugalseg.images.splits import split_folds, split_validation
from frugalseg.images.windows import cut_windows

__all__ = [
    "IMAGE_SUFFIXES",
    "LAYOUTS",
    "Dataset",
    "Header",
    "LoadedSample",
    "Sample",
    "WindowReader",
    "cut_windows",
    "image_stem",
    "is_image_name",
    "is_mask_name",
    "load_image",
    "load_sample",
    "masked_stem",
    "median_object_diameter",
    "open_dataset",
    "read_header",
    "read_image",
    "read_label_map",
    "split_folds",
    "split_validation",
    "write_image",
    "write_label_map",
    "write_listing",
]
