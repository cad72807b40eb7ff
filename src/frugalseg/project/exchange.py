"""Annotations of a project for other programs, and theirs as new versions: what :mod:`frugalseg.formats` needs."""

from __future__ import annotations

from collections.abc import Sequence

from frugalseg.arrays import UNKNOWN
from frugalseg.errors import InputError, Problem
from frugalseg.formats import Annotated, AnnotationSet, Canvas, OnSlide
from frugalseg.formats.annotated import present_labels
from frugalseg.project.annotations import Drawing, make_drawing
from frugalseg.project.drafts import window_to_draw
from frugalseg.project.lock import project_lock
from frugalseg.project.mask_import import SOURCE, append_drawings, window_meant
from frugalseg.project.project import Project
from frugalseg.project.queries import load_images
from frugalseg.project.records import Imported, ProjectImage


def canvases(project: Project) -> dict[str, Canvas]:
    """All images of a project by name, as formats know them."""
    return {image.name: _canvas(image) for image in project.images()}


def _canvas(image: ProjectImage) -> Canvas:
    place = image.slide
    on = None
    if place is not None:
        corner = (place.x, place.y, place.width, place.height)
        on = OnSlide(place.name, *corner, place.slide_width, place.slide_height)
    return Canvas(image.name, image.path, image.height, image.width, image.pixel_size_um, on)


def annotation_set(
    project: Project, names: Sequence[str] | None = None, *, complete_only: bool = False
) -> AnnotationSet:
    """The current annotations of a project, each read when it is asked for.

    Parameters
    ----------
    project
        Where they are.
    names
        Images; None takes all that are annotated.
    complete_only
        Leave out those where not every object is drawn.

    Raises
    ------
    InputError
        An image is unknown or has no annotation, or none is left.
    """
    images = {image.name: image for image in project.images()}
    problems = []
    for name in names or ():
        if name not in images:
            problems.append(Problem(name, "is no image of this project"))
        elif images[name].annotation is None:
            problems.append(Problem(name, "has no annotation"))
    if problems:
        raise InputError.of(problems)
    chosen = [images[name] for name in (sorted(set(names)) if names is not None else images)]
    wanted = [
        image for image in chosen if image.annotation is not None and (image.annotation.complete or not complete_only)
    ]
    if not wanted:
        raise InputError(project.folder, f"has no {'complete ' if complete_only else ''}annotations to write")

    def load(canvas: Canvas) -> Annotated:
        annotation = images[canvas.name].annotation
        if annotation is None:
            raise ValueError(f"{canvas.name} has no annotation")
        labels = project.labels(annotation)
        index = annotation.object_classes
        classes: dict[int, str | None] = {
            label: project.class_names[index.get(label, 0)] for label in present_labels(labels)
        }
        return Annotated(canvas, labels, classes, annotation.window, annotation.complete)

    return AnnotationSet(tuple(map(_canvas, wanted)), load, project.class_names)


def import_annotations(
    project: Project, drawn: AnnotationSet, *, complete: bool = True, default_class: str | None = None
) -> Imported:
    """Append what is drawn, all of it or none; what equals its image's current annotation is skipped.

    Parameters
    ----------
    project
        Which has the images.
    drawn
        As a format read it.
    complete
        Whether every object is drawn; where the file says that it is not, that counts.
    default_class
        Class of objects that have none. Not needed where the project has one class.

    Raises
    ------
    InputError
        With every problem: files that cannot be used, unknown images or classes, sizes that differ.
    """
    if default_class is not None and default_class not in project.class_names:
        raise InputError(default_class, f"is no class of this project, which has {', '.join(project.class_names)}")
    classes = _Classes(project.class_names, default_class)
    canvas_of = {canvas.name: canvas for canvas in drawn.canvases}
    with project_lock(project.folder):
        with project._store.read() as session:
            images = {image.name: image for image in load_images(session, project.folder)}
            windows = {name: window_to_draw(session, image) for name, image in images.items()}
        problems = [Problem(name, "is no image of this project") for name in canvas_of if name not in images]

        def draw(image: ProjectImage) -> tuple[Drawing, tuple[str, ...]]:
            each = drawn.load(canvas_of[image.name])
            window = each.window
            told: tuple[str, ...] = ()
            if window is None and not (each.labels == UNKNOWN).any():
                window, told = window_meant(image, each.labels, windows[image.name])
            drawing = make_drawing(
                image,
                each.labels,
                complete=complete and each.complete is not False,
                source=SOURCE,
                window=window,
                object_classes=classes.indices(each),
                n_classes=len(project.class_names),
            )
            return drawing, (*each.notes, *told)

        known = [images[name] for name in canvas_of if name in images]
        done = append_drawings(project._store, known, draw, problems)
    return Imported(done.imported, done.unchanged, (), (*drawn.notes, *done.notes))


class _Classes:
    """Names of classes in files as indices of the project's; a single class stands for a single class."""

    def __init__(self, names: Sequence[str], default: str | None) -> None:
        self._names = tuple(names)
        self._default = names[0] if default is None and len(names) == 1 else default
        self._single: str | None = None

    def indices(self, drawn: Annotated) -> dict[int, int]:
        """The index of each object's class."""
        index_of = {name: self._index(name, drawn.canvas) for name in dict.fromkeys(drawn.classes.values())}
        missing = sum(drawn.classes.get(label) is None for label in present_labels(drawn.labels))
        if missing and self._default is None:
            reason = f"has {missing} object{'' if missing == 1 else 's'} without a class; say which (--class NAME)"
            raise InputError(drawn.canvas.name, reason)
        fallback = 0 if self._default is None else self._names.index(self._default)
        return {
            label: fallback if name is None else index_of[name]
            for label in present_labels(drawn.labels)
            for name in (drawn.classes.get(label),)
        }

    def _index(self, name: str | None, canvas: Canvas) -> int:
        if name is None:
            return 0
        if len(self._names) == 1 and self._single in (None, name):
            self._single = name
            return 0
        if len(self._names) > 1 and name in self._names:
            return self._names.index(name)
        known = ", ".join(self._names)
        also = f" beside {self._single!r:.60}" if len(self._names) == 1 else ""
        raise InputError(canvas.name, f"has objects of the class {name[:60]!r}{also}; this project has {known}")
