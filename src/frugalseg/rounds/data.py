"""A project's images as a data set that training and scoring understand."""

from __future__ import annotations

from collections.abc import Sequence

from frugalseg.images import Dataset, Sample
from frugalseg.images.dataset import common_pixel_size
from frugalseg.project import NOT_ANNOTATED, Project, ProjectImage


def as_sample(image: ProjectImage, *, annotated: bool) -> Sample:
    """An image of a project; with its current annotation, and only the part of the image that this speaks of."""
    annotation = image.annotation if annotated else None
    return Sample(
        name=image.name,
        image=image.path,
        mask=None if annotation is None else annotation.mask,
        subset=image.role or "all",
        group=image.group,
        size=(image.height, image.width),
        pixel_size_um=image.pixel_size_um,
        window=None if annotation is None else annotation.window,
    )


def annotated_dataset(project: Project, images: Sequence[ProjectImage]) -> Dataset:
    """Annotated images of a project; all images must have an annotation."""
    samples = tuple(as_sample(image, annotated=True) for image in images)
    sizes = {image.pixel_size_um for image in images}
    tables = {
        image.name: dict(image.annotation.object_classes)
        for image in images
        if image.annotation is not None and len(project.class_names) > 1
    }
    return Dataset(
        root=project.folder,
        layout="project",
        samples=samples,
        class_names=project.class_names,
        pixel_size_um=common_pixel_size(sizes),
        ignore_value=NOT_ANNOTATED,
        object_table=tables,
        whole_objects=True,
    )
