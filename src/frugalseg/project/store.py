"""The database of a project: made, opened, migrated, and the short transactions in which it is used.

Every transaction has a connection of its own, opened and closed with it, so nothing passes between threads or
processes. Writing ones take SQLite's write lock at their start (``BEGIN IMMEDIATE``), so none fails half-way for
another that came between.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from frugalseg import __version__
from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError, Problem, StorageError
from frugalseg.project import schema
from frugalseg.project.lock import LOCK, project_lock

DATABASE = "project.sqlite"
FOLDERS = ("images", "masks", "rounds")
BUSY_S = 30.0
"""How long a transaction waits for another's end."""

_log = logging.getLogger(__name__)
# Alembic tells its every step, its own import included; a user is told in one line, below.
logging.getLogger("alembic").setLevel(logging.WARNING)
_WRITE = "frugalseg_write"
_REASONS = {
    "SQLITE_NOTADB": "is damaged: not an SQLite database",
    "SQLITE_CORRUPT": "is damaged; restore a backup",
    "SQLITE_BUSY": "is in use by another process for too long; try again",
    "SQLITE_READONLY": "cannot be written (read-only)",
    "SQLITE_FULL": "cannot be written (the disk is full)",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_IOERR": "cannot be read or written (disk error)",
}
_LASTING = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_READONLY")
"""What is no better when it is tried again."""


class Store:
    """A project's database that is there and has the present schema; made by :func:`open_store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / DATABASE
        self._engine = make_engine(self.database)
        self._writer = self._engine.execution_options(**{_WRITE: True})

    def hold(self) -> sqlite3.Connection:
        """A connection to be kept open by who writes often: SQLite tidies its log up whenever the last one closes."""
        with explained(self.database):
            connection = _connect(self.database)
            connection.execute("SELECT 1 FROM project").fetchone()
            return connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view of the database while the block runs."""
        with explained(self.database), Session(self._engine) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: what the block changes is kept if it ends well, else nothing of it.

        Raises
        ------
        InputError
            The database is damaged, or cannot be written.
        StorageError
            The disk is full or fails, or another process holds the database for too long.
        """
        with explained(self.database), Session(self._writer) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def locked_write(self) -> Iterator[Session]:
        """As `write`, under the project's lock: for writes that read first or also write files."""
        with project_lock(self.folder), self.write() as session:
            yield session


def make_engine(database: Path, *, foreign_keys: bool = True) -> Engine:
    """An engine for this file, which must be there; in a folder that cannot be written it only reads."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(database, foreign_keys=foreign_keys),
        poolclass=NullPool,
        json_serializer=lambda document: json.dumps(document, allow_nan=False),
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Python's own handling of SQLite's transactions, switched off above, begins none for changes of the schema.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")

    return engine


def _connect(database: Path, *, foreign_keys: bool = True) -> sqlite3.Connection:
    address = f"{database.absolute().as_uri()}?{_mode(database)}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def copy_database(database: Path, target: Path) -> None:
    """Copy a database as it is at this moment, whoever writes meanwhile; `target` is written atomically."""
    with (
        explained(database),
        atomic_path(target) as temporary,
        contextlib.closing(_connect(database)) as before,
        contextlib.closing(sqlite3.connect(temporary)) as copy,
    ):
        before.backup(copy)


def _mode(database: Path) -> str:
    """Parameters of the address: in write-ahead mode even reading writes beside the file, unless told not to."""
    if os.access(database.parent, os.W_OK) or _log_of(database).exists():
        return "mode=rw"
    return "mode=ro&immutable=1"


def _log_of(database: Path) -> Path:
    """The write-ahead log, which is there while the database is in use, and after a kill."""
    return database.with_name(f"{database.name}-wal")


@contextlib.contextmanager
def explained(database: Path) -> Iterator[None]:
    """Turn what SQLite refuses for reasons outside the program into one line; let bugs pass."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        reason = next((text for start, text in _REASONS.items() if name.startswith(start)), None)
        if reason is None:
            raise
        kind = InputError if name.startswith(_LASTING) else StorageError
        raise kind(database, reason) from error


def create_store(folder: Path, class_names: Sequence[str]) -> None:
    """Make the folder and the database of a new project.

    Raises
    ------
    InputError
        The folder is a file, is a project already, or holds something else.
    OSError
        The folder cannot be written.
    """
    check_new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with project_lock(folder):
        check_new_folder(folder)  # another process may have been faster
        _write_database(folder / DATABASE, class_names)
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)


def _write_database(path: Path, class_names: Sequence[str]) -> None:
    from frugalseg.project.migration import upgrade

    row = {"id": 1, "class_names": list(class_names), "made_with": __version__, "created_at": datetime.now(UTC)}
    with atomic_path(path) as temporary:
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        with make_engine(temporary, foreign_keys=False).begin() as connected:
            upgrade(connected)
            connected.execute(insert(schema.ProjectRow), row)


def check_new_folder(folder: Path) -> None:
    """Refuse a folder in which no project can be made.

    Raises
    ------
    InputError
        It is a file, is a project already, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is a file, a project is a folder")
    if (folder / DATABASE).exists():
        raise InputError(folder, "is a project already")
    entries = list(folder.iterdir()) if folder.is_dir() else []
    ours = {LOCK, *(name for name in FOLDERS if (folder / name).is_dir() and not any((folder / name).iterdir()))}
    strangers = sorted(entry.name for entry in entries if entry.name not in ours and not entry.name.startswith("."))
    if strangers:
        raise InputError(folder, f"is not empty (it holds {strangers[0]}); a new project needs a folder of its own")


def open_store(folder: Path) -> Store:
    """Open the database of a project; an older schema is copied aside, then migrated. The present one is only read.

    Raises
    ------
    InputError
        The folder is no project, its database is damaged, or a newer frugalseg made it.
    """
    database = folder / DATABASE
    if not folder.is_dir():
        raise InputError(folder, "is a file, a project is a folder" if folder.exists() else "does not exist")
    if not database.is_file():
        raise InputError(folder, f"is no project (it holds no {DATABASE}; frugalseg init makes one)")
    if _revision(database) != schema.HEAD:
        _migrate(folder, database)
    return Store(folder)


def check_database(database: Path, *, thorough: bool) -> list[Problem]:
    """What SQLite finds wrong with the file; nothing, it is hoped.

    Parameters
    ----------
    database
        The file.
    thorough
        Also compare indices with tables and look for rows that point nowhere.
    """
    problems: list[str] = []
    try:
        with explained(database), make_engine(database).connect() as connection:
            check = "integrity_check" if thorough else "quick_check(1)"
            problems += [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA {check}") if row[0] != "ok"]
            if thorough:
                strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                problems += [
                    f"row {row[1]} of {row[0]} points at a row of {row[2]} that is not there" for row in strays
                ]
    except InputError as error:
        return list(error.problems)
    return [Problem(str(database), f"is damaged: {' '.join(problem.split())}") for problem in problems]


def _revision(database: Path) -> str:
    """Revision of the schema, after a look at the database's health."""
    if _is_cut(database):
        time.sleep(0.2)  # or was another process about to make it longer?
        if _is_cut(database):
            raise InputError(database, "is damaged: it is cut off; restore a backup")
    problems = check_database(database, thorough=False)
    if problems:
        raise InputError.of(problems)
    with explained(database), make_engine(database).connect() as connection:
        tables = {row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"alembic_version", "project", "images", "annotations"} <= tables:
            raise InputError(database, "is not the database of a frugalseg project")
        rows = connection.exec_driver_sql("SELECT version_num FROM alembic_version").all()
    if len(rows) != 1:
        raise InputError(database, "is damaged: it does not say which schema it has")
    return str(rows[0][0])


def _is_cut(database: Path) -> bool:
    """Whether the file is shorter than it says: SQLite itself overlooks a cut within the last page.

    Where there is a log, nothing is said: the file may still have to grow from it.
    """
    in_use = _log_of(database).exists()
    if database.stat().st_size == 0:  # SQLite would take it for a new one
        raise InputError(database, _REASONS["SQLITE_NOTADB"])
    # never by opening the file: closing it again would take this process's locks on it away (POSIX), with them SQLite's
    with explained(database), contextlib.closing(_connect(database)) as connection:
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return not in_use and database.stat().st_size < page * pages


def _migrate(folder: Path, database: Path) -> None:
    """Copy the database aside and bring it to the present schema, wholly or not at all."""
    from frugalseg.project.migration import backup_name, known_revisions, upgrade

    with project_lock(folder):
        revision = _revision(database)
        if revision == schema.HEAD:  # another process was faster
            return
        if revision not in known_revisions():
            reason = f"was made by a newer frugalseg (schema {revision}, this one has {schema.HEAD}); update frugalseg"
            raise InputError(database, reason)
        kept = backup_name(database, revision)
        copy_database(database, kept)
        writer = make_engine(database, foreign_keys=False).execution_options(**{_WRITE: True})
        with explained(database), writer.begin() as connection:
            upgrade(connection)
        _log.info("%s: schema %s brought to %s; before that copied to %s", database, revision, schema.HEAD, kept.name)
