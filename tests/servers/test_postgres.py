"""The PostgreSQL of the tests: that it keeps what was written over a kill, and keeps databases apart."""

from __future__ import annotations

import psycopg2
import pytest

from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as postgres


def ask(url: str, statement: str) -> list[tuple]:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_what_was_committed_outlives_a_kill_of_the_server(postgres: Postgres) -> None:
    url = postgres.new_database()
    ask(url, "CREATE TABLE kept (n int)")
    ask(url, "INSERT INTO kept VALUES (7)")
    postgres.restart()
    assert ask(url, "SELECT n FROM kept") == [(7,)]


def test_databases_are_apart_and_want_the_password(postgres: Postgres) -> None:
    first, second = postgres.new_database(), postgres.new_database()
    ask(first, "CREATE TABLE mine (n int)")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        ask(second, "SELECT n FROM mine")
    with pytest.raises(psycopg2.OperationalError):
        ask(first.replace(postgres.password, "another"), "SELECT 1")
