"""Calls: taking inputs, giving outputs, cancelling. Running them is `containers`' work."""

from __future__ import annotations

import collections
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.servers.modal_loopback.containers import Containers
from tests.servers.modal_loopback.state import Call, Container, Input, Result, State


class Calls:
    def __init__(self, state: State, containers: Containers) -> None:
        self._state = state
        self._containers = containers

    async def FunctionMap(self, request: Any, container: Container | None) -> Any:
        function = self._state.functions[request.function_id]
        call = Call(self._state.new_id("fc"), function.id, request.function_call_invocation_type)
        self._state.calls[call.id] = call
        taken = [await self._take(call, item) for item in request.pipelined_inputs]
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            max_inputs_outstanding=1000,
            retry_policy=function.definition.retry_policy,
            # The stand-in retries itself, as Modal's server does for `spawn`.
            sync_client_retries_enabled=False,
            pipelined_inputs=taken,
        )

    async def FunctionPutInputs(self, request: Any, container: Container | None) -> Any:
        call = self._known(request.function_call_id)
        taken = [await self._take(call, item) for item in request.inputs]
        return api_pb2.FunctionPutInputsResponse(inputs=taken)

    async def FunctionFinishInputs(self, request: Any, container: Container | None) -> None:
        return None

    async def _take(self, call: Call, item: Any) -> Any:
        taken = Input(self._state.new_id("in"), call, item.idx, item.input)
        call.inputs[item.idx] = self._state.inputs[taken.id] = taken
        await self._containers.enqueue(taken)
        return api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=taken.id, input_jwt=taken.id)

    async def FunctionGetOutputs(self, request: Any, container: Container | None) -> Any:
        call = self._known(request.function_call_id)
        ranged = request.HasField("start_idx")
        seen = 0 if request.last_entry_id in ("", "0-0") else int(request.last_entry_id.split("-")[0])

        def ready() -> list[Any]:
            if call.expired:
                return []
            if ranged:
                return [item for item in call.outputs if request.start_idx <= item.idx <= request.end_idx]
            return call.outputs[seen:]

        await self._state.wait_for(lambda: ready() or call.expired, request.timeout)
        outputs = ready()
        return api_pb2.FunctionGetOutputsResponse(
            outputs=outputs,
            idxs=[item.idx for item in outputs],
            num_unfinished_inputs=call.unfinished(),
            last_entry_id=f"{seen if ranged else seen + len(outputs)}-0",
        )

    async def FunctionCallFromId(self, request: Any, container: Container | None) -> Any:
        call = self._known(request.function_call_id)
        app = self._state.app_of(call.function_id)
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.id,
            num_inputs=len(call.inputs),
            metadata=api_pb2.FunctionCallHandleMetadata(app_id=app.id, function_id=call.function_id),
        )

    async def FunctionCallGetInfo(self, request: Any, container: Container | None) -> Any:
        call = self._known(request.function_call_id)
        ended = collections.Counter(item.result.status for item in call.outputs)

        def count(*statuses: int) -> Any:
            return api_pb2.InputCategoryInfo(total=sum(ended[status] for status in statuses))

        return api_pb2.FunctionCallGetInfoResponse(
            info=api_pb2.FunctionCallInfo(
                function_call_id=call.id,
                total_inputs=len(call.inputs),
                pending_inputs=api_pb2.InputCategoryInfo(total=call.unfinished()),
                succeeded_inputs=count(Result.GENERIC_STATUS_SUCCESS),
                failed_inputs=count(
                    Result.GENERIC_STATUS_FAILURE,
                    Result.GENERIC_STATUS_INTERNAL_FAILURE,
                    Result.GENERIC_STATUS_INIT_FAILURE,
                ),
                timeout_inputs=count(Result.GENERIC_STATUS_TIMEOUT),
                cancelled_inputs=count(Result.GENERIC_STATUS_TERMINATED),
            )
        )

    async def FunctionCallCancel(self, request: Any, container: Container | None) -> None:
        """An input that waits is ended; one that runs gets `InputCancellation`, or loses its container."""
        call = self._known(request.function_call_id)
        for item in call.inputs.values():
            if not item.done:
                await self._containers.cancel(item, terminate=request.terminate_containers)

    def _known(self, call_id: str) -> Call:
        if call_id not in self._state.calls:
            raise GRPCError(Status.NOT_FOUND, f"Function call {call_id} not found")
        return self._state.calls[call_id]
