"""The revisions of the schema, in order; alembic runs them by :mod:`frugalseg.project.migration`.

A change of the schema is a new file here and a new :data:`frugalseg.project.schema.HEAD`; old files never change.
"""
