"""Bringing a database to the present schema, by alembic's revisions and without its configuration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER = Path(__file__).parent / "migrations"


def known_revisions() -> list[str]:
    """Revisions that this frugalseg knows, the oldest first."""
    return [script.revision for script in _scripts().walk_revisions()][::-1]


def upgrade(connection: Connection) -> None:
    """Run the revisions that are missing, in the transaction that `connection` is in.

    Raises
    ------
    ValueError
        Afterwards a row points at a row that is not there: a revision is wrong.
    """
    scripts = _scripts()

    def steps(revision: Any, context: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
    strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if strays:
        raise ValueError(f"after the migration {len(strays)} rows point nowhere, the first in {strays[0][0]}")


def backup_name(database: Path, revision: str) -> Path:
    """A name for the copy of a database before its migration that no file has yet."""
    path = database.with_name(f"{database.name}.backup-{revision}")
    number = 2
    while path.exists():
        path = database.with_name(f"{database.name}.backup-{revision}-{number}")
        number += 1
    return path


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(FOLDER, version_locations=[FOLDER])
