"""Images that may join a project: every file read and judged, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from frugalseg.errors import InputError, Problem
from frugalseg.images import Sample, image_stem, read_header, read_image
from frugalseg.images.guard import system_reason
from frugalseg.project.hashing import SMALL_BYTES, identity, is_fingerprint

_FORBIDDEN = frozenset('/\\:*?"<>|')
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_LONGEST = 200


@dataclass(frozen=True)
class Candidate:
    """A readable image with a usable name."""

    name: str
    file: Path
    sha256: str
    height: int
    width: int
    pixel_size_um: float | None
    group: str | None

    @property
    def large(self) -> bool:
        """Whether it stays where it is."""
        return is_fingerprint(self.sha256)

    @property
    def file_name(self) -> str:
        """Name of its copy: the image's name with the file's own ending."""
        ending = "".join(self.file.suffixes[-2:]) if self.file.stem.lower().endswith(".ome") else self.file.suffix
        return f"{self.name}{ending}"


def check_images(sources: Iterable[Sample | Path], *, small_bytes: int = SMALL_BYTES) -> tuple[Candidate, ...]:
    """Read every image: small files are decoded and hashed, of large ones header and fingerprint are read.

    Parameters
    ----------
    sources
        Samples of a data set, whose masks are not looked at, or files, named by their stems.
    small_bytes
        Largest size of a file that counts as small.

    Raises
    ------
    InputError
        With every problem: unreadable files, names that are unfit for file names, two different images of one name.
    """
    problems: list[Problem] = []
    candidates: list[Candidate] = []
    first: dict[str, Candidate] = {}
    for source in sources:
        try:
            candidate = _read(source, small_bytes)
        except InputError as error:
            problems += error.problems
            continue
        other = first.setdefault(candidate.name.casefold(), candidate)
        if other.sha256 != candidate.sha256:
            problems.append(Problem(str(candidate.file), f"has the name of another image, {other.file}"))
        else:
            candidates.append(candidate)
    if problems:
        raise InputError.of(problems)
    return tuple(candidates)


def _read(source: Sample | Path, small_bytes: int) -> Candidate:
    if not isinstance(source, Sample):
        source = Sample(image_stem(source), Path(source), None, "all")
    path = source.image
    if len(source.images) > 1:
        raise InputError(path, "is one of several channel files of an image; a project needs one file an image")
    fault = name_fault(source.name)
    if fault is not None:
        raise InputError(path, fault)
    try:
        header = read_header(path)
        if path.stat().st_size <= small_bytes:
            read_image(path)
        sha256 = identity(path, small_bytes=small_bytes)
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    pixel_size = source.pixel_size_um or header.pixel_size_um
    return Candidate(source.name, path, sha256, header.height, header.width, pixel_size, source.group)


def name_fault(name: str, *, longest: int = _LONGEST) -> str | None:
    """Why a name is unfit for files on some system, or None."""
    bad = sorted({letter for letter in name if letter in _FORBIDDEN or not letter.isprintable()})
    if bad:
        return f"has a name that not every system allows ({' '.join(map(repr, bad))}); rename it"
    if not name or name.startswith(".") or name[-1] in ". " or name.partition(".")[0].lower() in _RESERVED:
        return f"has a name that not every system allows ({name!r}); rename it"
    if len(name.encode()) > longest:
        return f"has a name of more than {longest} bytes; rename it"
    return None
