"""The store's tables, and the two kinds of database that hold them.

Bodies are JSON in text columns, written with escapes only, so that no character of a caller's
metadata (NUL, lone surrogates) can be refused by a database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from voicetone.errors import UsageError

NAME_LENGTH = 200
"""Characters of a queue's or call's name that are kept in columns."""
KEY = 7 * 0x766F696365  # any number that no other program of the database is likely to use
"""PostgreSQL's advisory lock: writers share it, a deletion of a call has it alone."""
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30

metadata = sa.MetaData()

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("route", sa.String),
    sa.Column("external", sa.String, index=True),
    sa.Column("queue", sa.String),
    sa.Column("model", sa.String),
    sa.Column("described", sa.Text),  # JSON: channels, names, analysed, metadata
    sa.Column("began", sa.Double, nullable=False, index=True),
    sa.Column("seen", sa.Double, nullable=False, index=True),
    sa.Column("ended", sa.Double),
    sa.Column("reason", sa.String),
    sa.Column("duration", sa.Double),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("alerts", sa.Integer, nullable=False),
    sa.Column("tone", sa.Text),  # JSON: one summary per analysed channel, once the call has ended
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("call", sa.String, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("channel", sa.Integer),
    sa.Column("body", sa.Text, nullable=False),
)

deleted = sa.Table(
    "deleted",
    metadata,
    sa.Column("call", sa.String, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
)
"""Calls that were deleted: what is still on its way from them is dropped."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("call", sa.String, nullable=False, index=True),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("queue", sa.String),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("dead", sa.Boolean, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("error", sa.String),
    sa.Index("deliveries_next", "target", "call", "dead", "id"),
    sa.UniqueConstraint("target", "call", "key"),
    sqlite_autoincrement=True,
)
"""What targets are still to get, and what none would take (`dead`)."""

lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("target", sa.String, primary_key=True),
    sa.Column("call", sa.String, primary_key=True),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("lease_by", sa.String),
    sa.Column("tries", sa.Integer, nullable=False),  # of the first delivery in it
)
"""One per target and call with deliveries: who sends them, and when to try again."""

voices = sa.Table(
    "voices",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False, index=True),
    sa.Column("subject", sa.String, index=True),  # hashed
    sa.Column("encoder", sa.String, nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False),  # float32, little-endian
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("warnings", sa.Text, nullable=False),  # JSON
    sa.Column("consent", sa.String, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
)
"""Enrolled voices. The embedding is biometric data: nothing but a call of its owner gets it."""


@dataclass(frozen=True, slots=True)
class Database:
    """Two engines on one database: in SQLite a writer takes its lock when it begins."""

    write: sa.Engine
    read: sa.Engine

    @property
    def postgres(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.write.dialect.name == "postgresql"

    def close(self) -> None:
        """Close all connections."""
        self.write.dispose()
        self.read.dispose()


def parse_url(url: str) -> URL:
    """A database's address, checked.

    Raises:
        UsageError: no address, another kind of database, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind in ("sqlite", "postgresql"):
            parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UsageError(
            "store.url is no database address: write sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from error
    if kind not in ("sqlite", "postgresql"):
        raise UsageError(f"store.url: {kind} is not supported: use SQLite or PostgreSQL")
    if kind == "sqlite" and (not parsed.database or parsed.database == ":memory:"):
        raise UsageError("store.url: SQLite needs a file here: write sqlite:///FILE")
    if kind == "sqlite" and not Path(str(parsed.database)).absolute().parent.is_dir():
        raise UsageError(f"store.url: no folder for {parsed.database}: make it, or name another")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def open_database(url: URL) -> Database:
    """Engines for a checked address; nothing is connected yet.

    Raises:
        UsageError: its driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return Database(_sqlite(url, "BEGIN IMMEDIATE"), _sqlite(url, "BEGIN"))
    options = f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c lock_timeout=10000"
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_size=4,
            max_overflow=12,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "options": options,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
    except ModuleNotFoundError as error:
        raise UsageError(
            f"store.url: the driver of this database ({error.name}) is missing: "
            "pip install 'psycopg[binary]'"
        ) from error
    return Database(engine, engine)


def _sqlite(url: URL, begin: str) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": 10.0})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin as said below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def create(database: Database) -> None:
    """Make the tables that are missing; several processes may do so at once."""
    if not database.postgres:
        Path(str(database.write.url.database)).touch(mode=0o600)  # others' eyes off it
    with database.write.begin() as connection:
        lock(connection, alone=True)
        metadata.create_all(connection)


def lock(connection: sa.Connection, alone: bool = False) -> None:
    """Until the transaction's end: no deletion of a call beside it, or nothing else at all.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        name = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        connection.execute(sa.text(f"SELECT {name}({KEY})"))


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    change: Mapping[str, Any] | None = None,
) -> None:
    """Insert rows; of those that are there already, change the columns named, or nothing.

    Args:
        connection: in a transaction.
        table: with a primary key.
        rows: all with the same keys.
        change: column → expression, or None.
    """
    if not rows:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table)
    if change is None:
        statement = statement.on_conflict_do_nothing()
    else:
        keys = [column.name for column in table.primary_key]
        statement = statement.on_conflict_do_update(index_elements=keys, set_=dict(change))
    connection.execute(statement, list(rows))


def clean(text: object) -> str | None:
    """A text for a column: bounded, and without what a database refuses (NUL, lone surrogates)."""
    if text is None:
        return None
    cut = str(text)[:NAME_LENGTH].replace("\0", "\ufffd")
    return cut.encode("utf-8", "replace").decode("utf-8")


def revive(connection: sa.Connection, pairs: Collection[tuple[str, str]], now: float) -> None:
    """Make the lanes of these targets and calls due."""
    fresh = {"due": now, "lease_until": 0.0, "lease_by": None, "tries": 0}
    rows = [{"target": target, "call": call, **fresh} for target, call in sorted(set(pairs))]
    # A lane that is there is only locked: a sender that finds it empty waits for us.
    upsert(connection, lanes, rows, {"due": lanes.c.due})
