"""Deploying: apps, environments, images, mounts, secrets, volumes, functions and classes.

Belongs here: what `modal deploy` and `modal run` ask before the first call. Does not belong here: looking up
what is deployed (`lookup`). Images are recorded, not built; volumes are names.
"""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.servers.modal_loopback.state import MAIN, App, Container, Function, Result, State

IMAGE_BUILDER_VERSION = "2025.06"
GPU_TYPES = frozenset(
    {"T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H100!"}
    | {"H200", "B200", "B200+", "B300", "ANY"}
)
"""As Modal documents them (July 2026); the real server refuses others in its own words."""


def check_gpu(name: str) -> None:
    if name and name not in GPU_TYPES:
        raise GRPCError(Status.INVALID_ARGUMENT, f"Not a valid GPU type: {name}")


class Deploy:
    def __init__(self, state: State) -> None:
        self._state = state

    async def ClientHello(self, request: Any, container: Container | None) -> None:
        return None

    async def EnvironmentGetOrCreate(self, request: Any, container: Container | None) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=IMAGE_BUILDER_VERSION)
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name or MAIN, settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-00000001", metadata=metadata)

    async def AppCreate(self, request: Any, container: Container | None) -> Any:
        app = App(self._state.new_id("ap"), request.description, request.environment_name, request.app_state)
        self._state.apps[app.id] = app
        page = f"{self._state.http_url}/{app.id}"
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=page, app_logs_url=page)

    async def AppGetByDeploymentName(self, request: Any, container: Container | None) -> Any:
        app = self._state.deployed(request.environment_name, request.name)
        return api_pb2.AppGetByDeploymentNameResponse(app_id=app.id if app is not None else "")

    async def AppGetLayout(self, request: Any, container: Container | None) -> Any:
        return api_pb2.AppGetLayoutResponse(app_layout=layout(self._state, request.app_id))

    async def AppHeartbeat(self, request: Any, container: Container | None) -> None:
        return None

    async def AppSetTags(self, request: Any, container: Container | None) -> None:
        return None

    async def AppPublish(self, request: Any, container: Container | None) -> Any:
        app = self._state.apps[request.app_id]
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        app.state = request.app_state
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            self._state.deploy(app.environment, request.name, app.id)
        return api_pb2.AppPublishResponse(url=f"{self._state.http_url}/{app.id}", deployed_at=time.time())

    async def AppClientDisconnect(self, request: Any, container: Container | None) -> None:
        app = self._state.apps.get(request.app_id)
        if app is not None and app.state != api_pb2.APP_STATE_DEPLOYED:
            app.state = api_pb2.APP_STATE_STOPPED
            await self._state.changed()

    async def MountBatchedCheckExistence(self, request: Any, container: Container | None) -> Any:
        missing = [sha for sha in request.sha256_hex_hashes if not (self._state.files / sha).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: Any, container: Container | None) -> Any:
        by_blob = request.WhichOneof("data_oneof") == "data_blob_id"
        content = self._state.blobs[request.data_blob_id] if by_blob else request.data
        if hashlib.sha256(content).hexdigest() != request.sha256_hex:
            raise GRPCError(Status.INVALID_ARGUMENT, f"the content is not that of {request.sha256_hex}")
        (self._state.files / request.sha256_hex).write_bytes(content)
        return api_pb2.MountPutFileResponse(exists=True)

    async def MountGetOrCreate(self, request: Any, container: Container | None) -> Any:
        listed = sorted(f"{file.filename}\0{file.sha256_hex}".encode() for file in request.files)
        checksum = hashlib.sha256(b"\n".join(listed)).hexdigest()
        name = request.deployment_name or checksum
        mount_id = self._state.named.setdefault(("mo", name), "") or self._state.new_id("mo")
        self._state.named[("mo", name)] = mount_id
        self._state.mounts[mount_id] = list(request.files)
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex=checksum)
        return api_pb2.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)

    async def ImageGetOrCreate(self, request: Any, container: Container | None) -> Any:
        """Recorded, not built: containers run in this machine's Python."""
        definition = request.image.SerializeToString(deterministic=True)
        image_id = f"im-{hashlib.sha256(definition).hexdigest()[:22]}"
        self._state.images[image_id] = request.image
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            result=Result(status=Result.GENERIC_STATUS_SUCCESS),
            metadata=api_pb2.ImageMetadata(
                image_builder_version=request.builder_version,
                python_version_info="Python {}.{}.{}".format(*sys.version_info[:3]),
            ),
        )

    async def SecretGetOrCreate(self, request: Any, container: Container | None) -> Any:
        anonymous = (
            api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP,
            api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL,
        )
        if request.object_creation_type in anonymous:
            secret_id, values = self._state.new_id("st"), dict(request.env_dict)
        else:
            values = self._state.secrets.get(request.deployment_name)
            if values is None:
                raise GRPCError(Status.NOT_FOUND, f"Secret {request.deployment_name!r} not found")
            missing = [name for name in request.required_keys if name not in values]
            if missing:
                raise GRPCError(
                    Status.FAILED_PRECONDITION, f"Secret {request.deployment_name!r} lacks {missing}"
                )
            secret_id = self._named("st", request)
        self._state.secret_values[secret_id] = values
        metadata = api_pb2.SecretMetadata(name=request.deployment_name)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id, metadata=metadata)

    async def VolumeGetOrCreate(self, request: Any, container: Container | None) -> Any:
        known = ("vo", request.deployment_name) in self._state.named
        if not known and request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            raise GRPCError(Status.NOT_FOUND, f"Volume {request.deployment_name!r} not found")
        version = api_pb2.VOLUME_FS_VERSION_V1
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=self._named("vo", request),
            version=version,
            metadata=api_pb2.VolumeMetadata(version=version, name=request.deployment_name),
        )

    def _named(self, prefix: str, request: Any) -> str:
        name = (prefix, request.deployment_name)
        if name not in self._state.named:
            self._state.named[name] = self._state.new_id(prefix)
        return self._state.named[name]

    async def FunctionPrecreate(self, request: Any, container: Container | None) -> Any:
        function = self._function(request.existing_function_id, request.app_id)
        function.handle = self._handle(request, request.app_id)
        return api_pb2.FunctionPrecreateResponse(function_id=function.id, handle_metadata=function.handle)

    async def FunctionCreate(self, request: Any, container: Container | None) -> Any:
        function = self._function(request.existing_function_id, request.app_id)
        ranked = request.function_data.ranked_functions
        definitions = [item.function for item in ranked] or [request.function]
        for definition in definitions:
            check_gpu(definition.resources.gpu_config.gpu_type)
        function.definition = definitions[0]
        function.handle = self._handle(function.definition, request.app_id)
        for old in function.containers.values():
            old.draining = True  # New code: a container of the old one takes no further input.
        await self._state.changed()
        return api_pb2.FunctionCreateResponse(
            function_id=function.id,
            function=function.definition,
            handle_metadata=function.handle,
            function_data=function_data(function),
        )

    def _function(self, existing: str, app_id: str) -> Function:
        function_id = existing or self._state.new_id("fu")
        return self._state.functions.setdefault(function_id, Function(function_id, app_id))

    def _handle(self, source: Any, app_id: str) -> Any:
        return api_pb2.FunctionHandleMetadata(
            function_name=source.function_name,
            function_type=source.function_type,
            app_id=app_id,
            definition_id=self._state.new_id("de"),
            function_schema=source.function_schema,
            supported_input_formats=source.supported_input_formats,
            supported_output_formats=source.supported_output_formats,
            method_handle_metadata={
                name: api_pb2.FunctionHandleMetadata(
                    function_name=method.function_name,
                    function_type=method.function_type,
                    function_schema=method.function_schema,
                    supported_input_formats=method.supported_input_formats,
                    supported_output_formats=method.supported_output_formats,
                    app_id=app_id,
                    use_method_name=name,
                    is_method=True,
                )
                for name, method in source.method_definitions.items()
            },
        )

    async def ClassCreate(self, request: Any, container: Container | None) -> Any:
        class_id = request.existing_class_id or self._state.new_id("cs")
        return api_pb2.ClassCreateResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())


def function_data(function: Function) -> Any:
    data = api_pb2.FunctionData(
        function_name=function.definition.function_name,
        function_type=function.definition.function_type,
        timeout_secs=function.definition.timeout_secs,
        is_class=function.definition.is_class,
    )
    data.ranked_functions.add(rank=0, function=function.definition)
    return data


def layout(state: State, app_id: str) -> Any:
    """What a container needs to make its app's objects known to itself."""
    app = state.apps[app_id]
    described = api_pb2.AppLayout(function_ids=app.functions, class_ids=app.classes)
    known: set[str] = set()
    for function_id in app.functions.values():
        known.add(function_id)
        described.objects.add(
            object_id=function_id, function_handle_metadata=state.functions[function_id].handle
        )
    for function_id in app.functions.values():
        for needed in state.functions[function_id].definition.object_dependencies:
            if needed.object_id in known:
                continue
            known.add(needed.object_id)
            item = described.objects.add(object_id=needed.object_id)
            if needed.object_id.startswith("vo-"):
                item.volume_metadata.version = api_pb2.VOLUME_FS_VERSION_V1
    for class_id in app.classes.values():
        described.objects.add(object_id=class_id, class_handle_metadata=api_pb2.ClassHandleMetadata())
    return described
