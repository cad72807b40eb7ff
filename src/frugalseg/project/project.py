"""The project folder of suggestive annotation: one class through which everything goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import select

from frugalseg.arrays import LabelMap
from frugalseg.errors import InputError, Problem
from frugalseg.images import Sample
from frugalseg.project import annotations as masks
from frugalseg.project import backup as backups
from frugalseg.project import images, mask_import, rounds, validation
from frugalseg.project import slides as slide_rows
from frugalseg.project.candidates import Candidate, check_images
from frugalseg.project.classes import check_classes, rename_classes
from frugalseg.project.drafts import UnknownImageError
from frugalseg.project.queries import image_row, load_images, load_slides
from frugalseg.project.records import (
    Added,
    Annotation,
    Cost,
    Imported,
    Member,
    NewWindow,
    ProjectImage,
    ProjectSlide,
    Reason,
    Role,
    Round,
    Suggested,
    Window,
)
from frugalseg.project.schema import ImageRow, ProjectRow, RootRow, SlideRow
from frugalseg.project.slides import SlideCandidate
from frugalseg.project.store import Store, create_store, open_store
from frugalseg.project.validation import SHARE


class Project:
    """Images, masks, rounds and suggestions in a folder; made by :meth:`create` or :meth:`open`.

    Every method is a transaction of its own. Objects may be used by several threads, and several processes may have the
    same project open.
    """

    def __init__(self, store: Store, class_names: Sequence[str]) -> None:
        self._store = store
        self.class_names = tuple(class_names)

    @classmethod
    def create(cls, path: Path, class_names: Sequence[str] = ("object",)) -> Project:
        """Make a project in a folder that is empty or not there yet.

        Raises
        ------
        InputError
            The folder is a file, a project, or not empty; no class, one without a name, or one twice.
        """
        create_store(Path(path), check_classes(class_names))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Project:
        """Open a project. An older one is copied aside and migrated; one of the present version is only read.

        Raises
        ------
        InputError
            The folder holds no project, its database is damaged, or a newer frugalseg made it.
        """
        store = open_store(Path(path))
        with store.read() as session:
            row = session.get(ProjectRow, 1)
            if row is None:
                raise InputError(store.database, "is damaged: it does not say which classes there are")
            return cls(store, row.class_names)

    @property
    def folder(self) -> Path:
        """Where the project lies."""
        return self._store.folder

    def add_images(self, sources: Iterable[Sample | Path | Candidate], root: tuple[str, Path] | None = None) -> Added:
        """Add images, by the names of the samples or the stems of the files; all of them, or none.

        Parameters
        ----------
        sources
            Samples of a data set (their masks stay out), files, or what :func:`check_images` gave.
        root
            Name and folder under which files larger than 64 MiB are registered; smaller ones are copied.

        Returns
        -------
        Added
            Files whose content the project has already are skipped, and counted there.

        Raises
        ------
        InputError
            With every problem: unreadable files, names that are taken by other images, large files outside the root.
        """
        listed = list(sources)
        checked = iter(check_images(each for each in listed if not isinstance(each, Candidate)))
        candidates = [each if isinstance(each, Candidate) else next(checked) for each in listed]
        return images.add_candidates(self._store, candidates, root)

    def add_slides(self, slides: Iterable[SlideCandidate], root: tuple[str, Path] | None) -> Added:
        """Register slides where they lie; all of them, or none.

        Parameters
        ----------
        slides
            What :func:`frugalseg.project.slides.check_slides` gave.
        root
            Name and folder under which they lie; None copies them, each one file, into the project.

        Raises
        ------
        InputError
            With every problem: names that are taken, slides outside the root.
        """
        return slide_rows.add_slides(self._store, list(slides), root)

    def check_slides(self, slides: Iterable[SlideCandidate], root: tuple[str, Path] | None) -> None:
        """Refuse what :meth:`add_slides` would refuse, and add nothing."""
        slide_rows.check_new_slides(self._store, list(slides), root)

    def slides(self) -> tuple[ProjectSlide, ...]:
        """All slides by name."""
        return self._slides()

    def slide_numbered(self, slide_id: int) -> ProjectSlide:
        """The slide of this number; an unknown one is an `UnknownImageError`."""
        found = self._slides(SlideRow.id == slide_id)
        if not found:
            raise UnknownImageError(f"slide {slide_id}", "is not in this project")
        return found[0]

    def slides_for(self, role: Role) -> tuple[ProjectSlide, ...]:
        """Usable slides whose windows are for this role, by name."""
        return self._slides(SlideRow.role == role, SlideRow.unusable_reason.is_(None))

    def _slides(self, *conditions: Any) -> tuple[ProjectSlide, ...]:
        with self._store.read() as session:
            return load_slides(session, self.folder, *conditions)

    def images(self) -> tuple[ProjectImage, ...]:
        """All images by name, each with its current annotation."""
        return self._images()

    def image(self, name: str) -> ProjectImage:
        """The image of this name; an unknown one is an `InputError`."""
        with self._store.read() as session:
            return load_images(session, self.folder, ImageRow.id == image_row(session, name).id)[0]

    def image_numbered(self, image_id: int) -> ProjectImage:
        """The image of this number; an unknown one is an `UnknownImageError`."""
        found = self._images(ImageRow.id == image_id)
        if not found:
            raise UnknownImageError(f"image {image_id}", "is not in this project")
        return found[0]

    def rename_classes(self, names: Sequence[str]) -> None:
        """Name the classes anew, while nothing is annotated.

        Raises
        ------
        InputError
            No class, one without a name or one twice; or there are annotations, drawings or rounds already.
        """
        self.class_names = rename_classes(self._store, names)

    def pool(self) -> tuple[ProjectImage, ...]:
        """What may be suggested: usable images of the pool without a complete annotation."""
        return tuple(each for each in self._usable("pool") if not each.annotated)

    def labelled(self) -> tuple[ProjectImage, ...]:
        """What is trained on: usable images of the pool whose current annotation is complete."""
        return tuple(each for each in self._usable("pool") if each.annotated)

    def not_drawn(self) -> tuple[ProjectImage, ...]:
        """Usable images with a complete annotation that have no role yet; :meth:`admit` gives them one."""
        return tuple(each for each in self.images() if each.usable and each.role is None and each.annotated)

    def validation(self) -> tuple[ProjectImage, ...]:
        """Usable images that are set aside for validation, annotated or not."""
        return self._usable("validation")

    def _usable(self, role: Role) -> tuple[ProjectImage, ...]:
        return self._images(ImageRow.role == role, ImageRow.unusable_reason.is_(None))

    def _images(self, *conditions: Any) -> tuple[ProjectImage, ...]:
        with self._store.read() as session:
            return load_images(session, self.folder, *conditions)

    def roots(self) -> dict[str, Path]:
        """Folders outside the project where large images and slides stay, by name."""
        with self._store.read() as session:
            return {row.name: Path(row.path) for row in session.scalars(select(RootRow).order_by(RootRow.name))}

    def relink(self, root_name: str, new_path: Path) -> int:
        """Say where a root is now, after a look at all its images and slides; returns how many there are.

        `InputError`: there is no such root, or images are missing or are other ones in the new place.
        """
        return images.relink(self._store, root_name, Path(new_path))

    def mark_unusable(self, name: str, reason: str) -> None:
        """Take an image out of pool, training and validation, or a slide; annotations are kept."""
        images.mark(self._store, name, reason)

    def mark_usable(self, name: str) -> None:
        """Take :meth:`mark_unusable` back."""
        images.mark(self._store, name, None)

    def draw_validation(self, share: float = SHARE, seed: int = 0) -> tuple[str, ...]:
        """Give each usable image that has none its role: `validation` for about this share of all, `pool` for the rest.

        0 ≤ share < 1. Whole groups are taken, so that the share is met only as nearly as their sizes allow; above 0 at
        least one image is taken where there are two groups or more. Slides are drawn among themselves; their windows
        have the slide's role. Same images and seed, same draw. An image never changes its role; later ones follow their
        group's. Returns the names that became validation images now.
        """
        return validation.draw(self._store, share, seed)

    def admit(self) -> None:
        """Give all that :meth:`not_drawn` gives a role, so that everything annotated counts."""
        validation.admit(self._store, self.images())

    def annotate(
        self,
        image: str,
        labels: NDArray[Any],
        complete: bool,
        source: str,
        window: Window | None = None,
        object_classes: Mapping[int, int] | None = None,
    ) -> Annotation:
        """Append a version to an image's annotations.

        Parameters
        ----------
        image
            Its name.
        labels
            Label map of the whole image, shape (H, W): 0 background, 1… objects, -1 not annotated.
        complete
            Whether every object in the window is drawn.
        source
            Where it comes from, in a word.
        window
            The part that was worked on: x, y, width, height. What lies outside counts as not annotated.
        object_classes
            Index into :attr:`class_names` of each object; those left out are of the first class.

        Raises
        ------
        InputError
            There is no such image, the sizes differ, or the window does not lie in the image.

        Notes
        -----
        Stored as PNG, or as TIFF where a label needs more than 16 bits. In the file 65535 means not annotated; an
        object of that number gets one above the highest.
        """
        return masks.annotate(
            self._store,
            image,
            labels,
            complete=complete,
            source=source,
            window=window,
            object_classes=object_classes or {},
            n_classes=len(self.class_names),
        )

    def import_masks(
        self,
        folder: Path,
        complete: bool = True,
        *,
        subset: str | None = None,
        ignore_value: int | None = None,
    ) -> Imported:
        """Append the masks of a folder, all of them or none; one that equals its image's current mask is skipped.

        Parameters
        ----------
        folder
            A data set with masks in any layout that :func:`frugalseg.images.open_dataset` knows, or masks alone, named
            as the project's images or with an ending such as ``_anno``. Of a data set, masks for images that the
            project does not have are left out; among masks alone they are problems.
        complete
            Whether every object is drawn.
        subset, ignore_value
            As for :func:`frugalseg.images.open_dataset`.

        Raises
        ------
        InputError
            With every problem: unreadable masks, sizes that differ, masks of other images with the same name.
        """
        return mask_import.import_masks(
            self._store,
            Path(folder),
            complete=complete,
            class_names=self.class_names,
            subset=subset,
            ignore_value=ignore_value,
        )

    def labels(self, annotation: Annotation) -> LabelMap:
        """The objects of an annotation, shape (H, W): -1 where nobody annotated, and outside its window."""
        return masks.read_labels(annotation)

    def history(self, name: str) -> tuple[Annotation, ...]:
        """All versions of an image's mask, the oldest first."""
        with self._store.read() as session:
            return masks.history(session, self.folder, name)

    def begin_round(self, settings: Mapping[str, Any], labelled: Sequence[ProjectImage]) -> Round:
        """Open the next round, numbered from 0, with the images it is trained on, as :meth:`labelled` gives them."""
        return rounds.begin_round(self._store, settings, labelled)

    def add_member(self, number: int, index: int, folder: str, seed: int) -> Member:
        """Note a network of a round: its folder, relative to the project's, and its seed; a later note replaces it."""
        return rounds.add_member(self._store, number, index, folder, seed)

    def finish_round(self, number: int, metrics: Mapping[str, Any]) -> Round:
        """Say that a round is trained, and how well; a trained one is an `InputError`."""
        return rounds.finish_round(self._store, number, metrics)

    def abandon_round(self, number: int) -> Round:
        """Give up a round that is in training or interrupted; the next one is begun anew."""
        return rounds.abandon_round(self._store, number)

    def rounds(self) -> tuple[Round, ...]:
        """All rounds, the oldest first."""
        return rounds.rounds(self._store)

    def newest_round(self) -> Round | None:
        """The newest round, which may be in training or interrupted; None if there is none."""
        return rounds.newest_round(self._store, trained=False)

    def newest_trained(self) -> Round | None:
        """The newest round that is trained; None if there is none."""
        return rounds.newest_round(self._store, trained=True)

    def add_suggestions(
        self,
        reasons: Sequence[Reason],
        strategy: str,
        settings: Mapping[str, Any] | None = None,
        round_number: int | None = None,
        windows: Sequence[NewWindow] = (),
    ) -> tuple[Suggested, ...]:
        """Store a list of suggestions in order of rank, as one ask.

        Parameters
        ----------
        reasons
            Images and why, the first to be annotated first.
        strategy, settings
            How they were chosen.
        round_number
            The round whose ensemble was asked; None is a cold start.
        windows
            Parts of slides that become images in the same transaction; the suggested ones among them are named in
            `reasons`.
        """
        return rounds.add_suggestions(
            self._store, reasons, strategy=strategy, settings=settings or {}, number=round_number, windows=windows
        )

    def suggestions(self, ask: int | None = None) -> tuple[Suggested, ...]:
        """The suggestions of an ask, numbered from 1, by rank; None takes the newest. Empty where there are none."""
        return rounds.suggestions(self._store, ask)

    def cost(self) -> Cost:
        """What the current annotations cost: images, objects, and the length of their outlines."""
        current = [each.annotation for each in self.images() if each.annotation is not None]
        return Cost(len(current), sum(each.n_objects for each in current), sum(each.contour_px for each in current))

    def integrity(self) -> tuple[Problem, ...]:
        """Everything that is wrong with the database, and every file that is missing or changed; empty if sound."""
        return backups.integrity(self._store)

    def backup(self, file: Path) -> int:
        """Write the project as one ``.zip``, atomically; returns the number of files in it. Unzipped, it opens.

        Left out are checkpoints, and what lies under roots: large images and slides.
        """
        return backups.backup(self._store, Path(file))
