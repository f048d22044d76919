"""Large payloads: an id from the RPC, the bytes over HTTP, as the client does it with object storage."""

from __future__ import annotations

import hashlib
from typing import Any

from aiohttp import web
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.servers.modal_loopback.state import Container, State


class Blobs:
    def __init__(self, state: State) -> None:
        self._state = state

    async def BlobCreate(self, request: Any, container: Container | None) -> Any:
        blob_id = self._state.new_id("bl")
        urls = api_pb2.UploadUrlList(items=[self._url(blob_id)])
        return api_pb2.BlobCreateResponse(blob_id=blob_id, blob_ids=[blob_id], upload_urls=urls)

    async def BlobGet(self, request: Any, container: Container | None) -> Any:
        if request.blob_id not in self._state.blobs:
            raise GRPCError(Status.NOT_FOUND, f"no blob {request.blob_id}")
        return api_pb2.BlobGetResponse(download_url=self._url(request.blob_id))

    def _url(self, blob_id: str) -> str:
        return f"{self._state.http_url}/blob/{blob_id}"

    async def put(self, request: web.Request) -> web.Response:
        """The client compares the answer's ETag with the body's MD5."""
        content = await request.read()
        self._state.blobs[request.match_info["id"]] = content
        return web.Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    async def get(self, request: web.Request) -> web.Response:
        return web.Response(body=self._state.blobs[request.match_info["id"]])
