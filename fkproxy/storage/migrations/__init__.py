"""How the schema came about, one file per level. Floor 2. Alembic reads them when a database is behind `tables.LEVEL`, and never else.

A file is never changed once released. It is named after its level and says nothing of the program's tables, which move on.
"""
