"""The stand-in for Modal's control plane: what it takes, what it refuses. Real client, real entrypoint."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers.modal_loopback.address import check_loopback_host, check_loopback_url
from tests.servers.modal_loopback.launch import ModalLoopback

APP = "tests.servers.plain_modal_app"


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalLoopback]:
    secrets = {"a-secret": {"SECRET_WORD": "sesame"}}
    with ModalLoopback(tmp_path_factory.mktemp("modal"), secrets) as server:
        server.deploy(APP)
        yield server


def client(loopback: ModalLoopback, script: str, **extra: str) -> dict:
    """Runs a client in a process of its own (the client is one per process); `say(...)` is its answer."""
    prelude = """
        import json, modal, pathlib, sys, time
        def say(**what): print(json.dumps(what))
        def function(name): return modal.Function.from_name("plain", name)
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(script)
    return json.loads(loopback.client([sys.executable, "-c", program], extra).splitlines()[-1])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "localhost", "modal.com", "", "::"])
def test_any_address_that_is_not_loopback_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        check_loopback_host(host)


def test_the_program_refuses_such_an_address_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.servers.modal_loopback", "--root", str(tmp_path)]
    done = subprocess.run(
        [*command, "--host", "0.0.0.0"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "not a loopback address" in done.stderr
    assert check_loopback_url("http://127.0.0.1:4000") == "http://127.0.0.1:4000"


def test_a_function_runs_from_the_upload_and_finds_the_project_nowhere_else(loopback: ModalLoopback) -> None:
    found = client(loopback, "say(**function('look').remote())")
    uploads = str(loopback.folder / "containers")
    assert found["module"].startswith(uploads)
    assert found["word"] == "sesame"
    assert found["variable"] == "of the image"
    assert "not uploaded" in found["project"]
    files = next(item["files"] for item in loopback.state()["functions"].values() if item["name"] == "look")
    assert files == [
        f"/root/tests/{name}" for name in ("__init__.py", "servers/__init__.py", "servers/plain_modal_app.py")
    ]


def test_a_spawned_call_is_found_again_by_its_id_from_another_process(loopback: ModalLoopback) -> None:
    call_id = client(loopback, "say(id=function('double').spawn(21).object_id)")["id"]
    again = f"say(value=modal.FunctionCall.from_id({call_id!r}).get(timeout=60))"
    assert client(loopback, again) == {"value": 42}
    assert client(loopback, again) == {"value": 42}


@pytest.mark.slow
def test_large_arguments_and_results_go_through_blobs(loopback: ModalLoopback) -> None:
    assert client(loopback, "say(same=function('echo').remote('x' * 5_000_000) == 'x' * 5_000_000)")["same"]
    assert loopback.state()["rpcs"]["BlobCreate"] >= 2


def test_a_calls_log_is_its_own(loopback: ModalLoopback) -> None:
    script = """
        from datetime import UTC, datetime, timedelta
        calls = [function("talk").spawn(number) for number in range(3)]
        for call in calls: call.get(timeout=60)
        since = datetime.now(UTC) - timedelta(minutes=5)
        say(fetched=[[entry.message for entry in call.logs.fetch(since=since)] for call in calls],
            streamed=[entry.message for entry in calls[1].logs.stream(timeout=5)])
    """
    told = client(loopback, script)
    assert told["fetched"] == [[f"{number} says {word}\n" for word in ("a", "b")] for number in range(3)]
    assert told["streamed"] == told["fetched"][1]


def test_options_make_another_function_and_an_unknown_gpu_is_refused(loopback: ModalLoopback) -> None:
    script = """
        changed = function("double").with_options(gpu="T4", timeout=77)
        value = changed.remote(2)
        try: function("double").with_options(gpu="Z9").remote(1)
        except modal.exception.InvalidError as error: say(value=value, refused=str(error))
    """
    told = client(loopback, script)
    assert told["value"] == 4
    assert "Z9" in told["refused"]
    bound = [item for item in loopback.state()["functions"].values() if item["base"]]
    assert [(item["gpu"], item["timeout_s"]) for item in bound] == [("T4", 77)]


@pytest.mark.slow
def test_how_a_call_can_fail_reaches_the_caller_by_its_type(loopback: ModalLoopback) -> None:
    script = """
        def outcome(run):
            try: return repr(run())
            except BaseException as error: return type(error).__name__ + ": " + str(error)
        say(raises=outcome(lambda: function("fail").remote("raise")),
            exits=outcome(lambda: function("exits_at_start").remote()),
            late=outcome(lambda: function("short").remote(30)),
            retried=outcome(lambda: function("second_try").remote()),
            unknown=outcome(lambda: modal.FunctionCall.from_id("fc-unknown").get(timeout=0)),
            missing=outcome(lambda: function("no_such").remote()),
            pending=outcome(lambda: function("sleep").spawn(5).get(timeout=0)))
    """
    told = client(loopback, script)
    assert told["raises"] == "ValueError: as asked"
    assert told["exits"].startswith("RemoteError: the container of exits_at_start exits with 3 at start")
    assert "these are its last words" in told["exits"]
    assert told["late"].startswith("FunctionTimeoutError")
    assert told["retried"] == "'at the second try'"
    assert told["unknown"].startswith("NotFoundError")
    assert told["missing"].startswith("NotFoundError")
    assert told["pending"].startswith("TimeoutError")


def test_a_cancel_interrupts_the_function_and_a_termination_kills_it(
    loopback: ModalLoopback, tmp_path: Path
) -> None:
    script = """
        told, ids = [], []
        for terminate in (False, True):
            journal = pathlib.Path(sys.argv[1], f"{terminate}")
            call = function("note").spawn(str(journal), 60)
            ids.append(call.object_id)
            while not journal.exists(): time.sleep(0.05)
            call.cancel(terminate_containers=terminate)
            try: call.get(timeout=50)
            except BaseException as error: told.append(type(error).__name__)
        say(told=told, ids=ids)
    """
    answer = client(loopback, script.replace("sys.argv[1]", repr(str(tmp_path))))
    assert answer["told"] == ["RemoteError", "RemoteError"]
    assert "Successfully canceled input" in "".join(
        path.read_text() for path in loopback.folder.glob("containers/*/output.log")
    )
    still_on = {call for item in loopback.state()["containers"].values() for call in item["calls"]}
    assert still_on.isdisjoint(answer["ids"])


@pytest.mark.slow
def test_a_preempted_or_killed_container_is_replaced_and_its_input_runs_again(
    loopback: ModalLoopback, tmp_path: Path
) -> None:
    for fault in ("preempt", "kill"):
        journal = tmp_path / fault
        call_id = client(loopback, f"say(id=function('note').spawn({str(journal)!r}, 2.0).object_id)")["id"]
        while not journal.exists():
            time.sleep(0.01)
        hit = loopback.fault(fault, call=call_id, grace_s=0.2)
        assert len(hit) == 1
        call = f"modal.FunctionCall.from_id({call_id!r})"
        assert client(loopback, f"say(value={call}.get(timeout=60))")["value"] == "done"
        assert len(journal.read_text().splitlines()) == 2


def test_an_expired_result_is_told_from_one_that_is_not_there_yet(loopback: ModalLoopback) -> None:
    call_id = client(loopback, "c = function('double').spawn(1); c.get(timeout=60); say(id=c.object_id)")[
        "id"
    ]
    loopback.fault("expire", call=call_id)
    script = f"""
        try: modal.FunctionCall.from_id({call_id!r}).get(timeout=0)
        except modal.exception.OutputExpiredError: say(expired=True)
    """
    assert client(loopback, script) == {"expired": True}


def test_a_wrong_token_is_refused(loopback: ModalLoopback) -> None:
    script = """
        try: function("double").remote(1)
        except modal.exception.AuthError as error: say(refused=str(error))
    """
    assert "token" in client(loopback, script, MODAL_TOKEN_SECRET="as-wrong")["refused"]


def test_what_is_not_implemented_is_refused_by_its_name_and_counted(loopback: ModalLoopback) -> None:
    script = """
        try: modal.Queue.from_name("a-queue", create_if_missing=True).put(1)
        except modal.exception.UnimplementedError as error: say(refused=str(error))
    """
    assert "QueueGetOrCreate" in client(loopback, script)["refused"]
    assert loopback.state()["refused"] == {"QueueGetOrCreate": 1}


def test_stopping_it_leaves_no_container(tmp_path: Path) -> None:
    secrets = {"a-secret": {"SECRET_WORD": "sesame"}}
    with ModalLoopback(tmp_path / "modal", secrets) as server:
        server.deploy(APP)
        client(server, "function('sleep').spawn(60); say()")
        while not server.container_processes():
            time.sleep(0.01)
    assert server.container_processes() == []
