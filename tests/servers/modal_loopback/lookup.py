"""Looking up what is deployed, and binding options to it (`from_name`, `with_options`)."""

from __future__ import annotations

from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.servers.modal_loopback.deploy import check_gpu, function_data
from tests.servers.modal_loopback.state import Container, Function, State


class LookUp:
    def __init__(self, state: State) -> None:
        self._state = state

    async def FunctionGet(self, request: Any, container: Container | None) -> Any:
        app = self._state.deployed(request.environment_name, request.app_name)
        tag = request.object_tag
        function_id = app.functions.get(tag) if app is not None else None
        if function_id is None:
            raise GRPCError(Status.NOT_FOUND, f"no function {tag!r} in app {request.app_name!r}")
        function = self._state.functions[function_id]
        return api_pb2.FunctionGetResponse(
            function_id=function_id, handle_metadata=function.handle, function=function_data(function)
        )

    async def FunctionGetById(self, request: Any, container: Container | None) -> Any:
        function = self._state.functions[request.function_id]
        return api_pb2.FunctionGetByIdResponse(
            handle_metadata=function.handle, function=function_data(function)
        )

    async def ClassGet(self, request: Any, container: Container | None) -> Any:
        app = self._state.deployed(request.environment_name, request.app_name)
        class_id = app.classes.get(request.object_tag) if app is not None else None
        if class_id is None:
            raise GRPCError(Status.NOT_FOUND, f"no class {request.object_tag!r} in app {request.app_name!r}")
        return api_pb2.ClassGetResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())

    async def FunctionBindParams(self, request: Any, container: Container | None) -> Any:
        """Equal options give the same bound function, so that its warm containers are found again."""
        identity = request.SerializeToString(deterministic=True)
        if identity not in self._state.bound:
            base = self._state.functions[request.function_id]
            function = Function(self._state.new_id("fu"), base.app_id, handle=base.handle, base=base.id)
            function.parameters = request.serialized_params
            function.definition = self._with_options(base.definition, request.function_options)
            self._state.functions[function.id] = function
            self._state.bound[identity] = function.id
        bound_id = self._state.bound[identity]
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=bound_id, handle_metadata=self._state.functions[bound_id].handle
        )

    @staticmethod
    def _with_options(definition: Any, options: Any) -> Any:
        changed = api_pb2.Function()
        changed.CopyFrom(definition)
        for name, _ in ((field.name, value) for field, value in options.ListFields()):
            if name == "resources":
                check_gpu(options.resources.gpu_config.gpu_type)
                changed.resources.MergeFrom(options.resources)
            elif name == "timeout_secs":
                changed.timeout_secs = options.timeout_secs
            elif name == "retry_policy":
                changed.retry_policy.CopyFrom(options.retry_policy)
            elif name == "concurrency_limit":
                changed.autoscaler_settings.max_containers = options.concurrency_limit
            else:
                raise GRPCError(
                    Status.UNIMPLEMENTED, f"the loopback stand-in does not know the option {name}"
                )
        return changed
