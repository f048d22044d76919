"""Logs: what containers wrote, line by line, each with the call it belongs to.

A container writes into one file. What stands there when an input is handed out belongs to whatever ran
before, since a container flushes before it asks: so no line is given to the wrong call. Lines carry the time
at which they were read; standard error counts as standard output.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from tests.servers.modal_loopback.state import Container, Input, LogLine, State

LOOK_S = 0.2


class Logs:
    def __init__(self, state: State) -> None:
        self._state = state

    def mark(self, container: Container, item: Input | None) -> None:
        """From here on, what the container writes belongs to `item`; with None, still to the one before."""
        self.collect(container)
        if item is not None:
            container.marks.append((container.output.stat().st_size, item))

    def collect(self, container: Container) -> None:
        """Reads the lines that are new."""
        with container.output.open("rb") as file:
            file.seek(container.read_to)
            data = file.read()
        whole, newline, rest = data.rpartition(b"\n")
        if container.gone and rest:
            whole, newline = data, b""
        for line in (whole + newline).splitlines(keepends=True):
            item = next(
                (item for start, item in reversed(container.marks) if start <= container.read_to), None
            )
            container.read_to += len(line)
            self._state.log.append(
                LogLine(
                    app_id=self._state.functions[container.function_id].app_id,
                    function_id=container.function_id,
                    call_id=item.call.id if item else "",
                    input_id=item.id if item else "",
                    container_id=container.id,
                    text=line.decode("utf-8", "replace"),
                    at_ns=time.time_ns(),
                )
            )

    def _collect_all(self) -> None:
        for container in self._state.containers.values():
            if container.output.exists() and not (
                container.gone and container.read_to >= container.output.stat().st_size
            ):
                self.collect(container)

    def _matching(self, request: Any) -> Iterator[tuple[int, LogLine]]:
        for number, line in enumerate(self._state.log, start=1):
            if (
                line.app_id == request.app_id
                and request.function_call_id in ("", line.call_id)
                and request.function_id in ("", line.function_id)
                and request.task_id in ("", line.container_id)
            ):
                yield number, line

    def _between(self, request: Any) -> list[tuple[int, LogLine]]:
        since, until = request.since.ToNanoseconds(), request.until.ToNanoseconds()
        return [
            (number, line)
            for number, line in self._matching(request)
            if since <= line.at_ns < until and request.search_text in line.text
        ]

    async def AppCountLogs(self, request: Any, container: Container | None) -> Any:
        self._collect_all()
        width_ns = request.bucket_secs * 10**9
        counts: dict[int, int] = {}
        for _, line in self._between(request):
            start = line.at_ns // width_ns * width_ns
            counts[start] = counts.get(start, 0) + 1
        answer = api_pb2.AppCountLogsResponse(app_id=request.app_id)
        for start, count in sorted(counts.items()):
            at = Timestamp()
            at.FromNanoseconds(start)
            answer.buckets.add(bucket_start_at=at, stdout_logs=count)
        return answer

    async def AppFetchLogs(self, request: Any, container: Container | None) -> Any:
        self._collect_all()
        lines = self._between(request)[-request.limit :]
        return api_pb2.AppFetchLogsResponse(batches=[_batch(number, line) for number, line in lines])

    async def AppGetLogs(self, request: Any, container: Container | None) -> AsyncIterator[Any]:
        seen = int(request.last_entry_id.split("-")[0]) if request.last_entry_id else 0
        deadline = time.monotonic() + request.timeout
        while True:
            self._collect_all()
            for number, line in [found for found in self._matching(request) if found[0] > seen]:
                seen = number
                yield _batch(number, line)
            if self._state.apps[request.app_id].state == api_pb2.APP_STATE_STOPPED:
                yield api_pb2.TaskLogsBatch(app_done=True)
                return
            if time.monotonic() > deadline:
                return
            await self._state.wait_for(lambda: False, LOOK_S)


def _batch(number: int, line: LogLine) -> Any:
    item = api_pb2.TaskLogs(
        data=line.text,
        file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT,
        function_call_id=line.call_id,
        input_id=line.input_id,
        container_id=line.container_id,
        timestamp=line.at_ns / 1e9,
        timestamp_ns=line.at_ns,
    )
    return api_pb2.TaskLogsBatch(
        task_id=line.container_id,
        function_id=line.function_id,
        input_id=line.input_id,
        entry_id=f"{number}-0",
        items=[item],
    )
