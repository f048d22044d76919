"""A stand-in for the part of Modal's control plane that this project uses. A test double, on loopback only.

It answers the unmodified `modal` client: `modal deploy -m`, look-up by name, options, spawn, results, cancel,
logs, blobs. Functions run in subprocesses through Modal's own container entrypoint, from the files that the
client uploaded, in an interpreter that finds the project nowhere else. It was written from the messages in
the wheel (`modal_proto`) and from what client and entrypoint ask; nothing of it was compared with the real
service, so a test against it proves our side and the client's, not Modal's.

Limits. Images are recorded, not built: containers have this machine's Python and libraries, and of an
image only its `ENV` lines count. No GPU, no CPU or memory limits, no volumes (names only), no regions, no
billing, no generators, no `@modal.concurrent`, no batching, no sandboxes, queues or dicts. Time limits,
retries, cancels, preemption and lost containers follow Modal's documentation where it speaks and our
assumption where it does not. Any RPC that is not implemented is refused as UNIMPLEMENTED with its name, and
counted.

Files: `address`, `state`, `rpc` (routing, tokens), `deploy`, `lookup`, `calls`, `containers`,
`container_folder`, `logs`, `blobs`, `door` (faults, for tests), `launch` (start it, run clients against it),
`__main__` (the program).
"""

from __future__ import annotations
