"""The gRPC service: every RPC of Modal's client, by name; what no part implements is refused, by name.

Belongs here: routing a request to the part that has a method of its name, tokens, which container asks, an
outage. Does not belong here: any answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from modal_proto import api_pb2

from tests.servers.modal_loopback.state import Container, State

CONTAINER_HEADER = "x-loopback-container"
"""A container says with it which one it is (`MODAL_OVERRIDE_HEADERS`)."""

SERVICE = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]


class Service:
    """Handed to grpclib's server. `parts` have the RPCs as methods `Name(request, container)`."""

    def __init__(self, state: State, parts: Sequence[object], token: tuple[str, str] | None) -> None:
        self._state = state
        self._parts = parts
        self._token = token

    def implemented(self) -> list[str]:
        return [method.name for method in SERVICE.methods if self._find(method.name) is not None]

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            f"/modal.client.ModalClient/{method.name}": self._handler(method) for method in SERVICE.methods
        }

    def _find(self, name: str) -> Callable[..., Any] | None:
        found = [getattr(part, name) for part in self._parts if hasattr(part, name)]
        if len(found) > 1:
            raise TypeError(f"{name} is implemented twice")
        return found[0] if found else None

    def _handler(self, method: Any) -> Handler:
        request_class, answer_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        kind = {
            (False, False): Cardinality.UNARY_UNARY,
            (False, True): Cardinality.UNARY_STREAM,
            (True, False): Cardinality.STREAM_UNARY,
            (True, True): Cardinality.STREAM_STREAM,
        }[method.client_streaming, method.server_streaming]
        return Handler(
            self._answering(method.name, method.server_streaming, answer_class),
            kind,
            request_class,
            answer_class,
        )

    def _answering(
        self, name: str, streams: bool, answer_class: type[Any]
    ) -> Callable[[Any], Awaitable[None]]:
        implementation = self._find(name)

        async def handle(stream: Any) -> None:
            self._state.rpcs[name] += 1
            request = await stream.recv_message()
            container = self._who_asks(stream.metadata)
            if implementation is None:
                self._state.refused[name] += 1
                raise GRPCError(Status.UNIMPLEMENTED, f"the loopback stand-in does not implement {name}")
            if streams:
                async for message in implementation(request, container):
                    await stream.send_message(message)
            else:
                answer = await implementation(request, container)
                await stream.send_message(answer_class() if answer is None else answer)

        return handle

    def _who_asks(self, metadata: Mapping[str, Any]) -> Container | None:
        container = self._state.containers.get(str(metadata.get(CONTAINER_HEADER, "")))
        if container is not None:
            return container
        if time.monotonic() < self._state.outage_until:
            raise GRPCError(Status.UNAVAILABLE, "the loopback stand-in plays an outage")
        given = (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret"))
        if self._token is not None and given != self._token:
            raise GRPCError(Status.UNAUTHENTICATED, "the token is not valid")
        return None
