"""The sandbox client for OpenAI Agents, whose sessions are machines."""

from __future__ import annotations

from uuid import uuid4

from microvm.frameworks.openai_session import (
    MicroVMSandboxClientOptions,
    MicroVMSandboxSession,
    MicroVMSandboxSessionState,
)
from microvm.frameworks.versions import supported

with supported("openai-agents"):
    from agents.sandbox import Manifest
    from agents.sandbox.session import BaseSandboxClient, SandboxSession
    from agents.sandbox.session.manager import Instrumentation
    from agents.sandbox.session.sandbox_session_state import SandboxSessionState
    from agents.sandbox.snapshot import SnapshotBase, SnapshotSpec, resolve_snapshot

__all__ = [
    "MicroVMSandboxClient",
    "MicroVMSandboxClientOptions",
    "MicroVMSandboxSession",
    "MicroVMSandboxSessionState",
]


class MicroVMSandboxClient(BaseSandboxClient[MicroVMSandboxClientOptions | None]):
    """Creates sessions whose commands and files are those of a machine."""

    backend_id = "microvm"
    supports_default_options = True

    def __init__(self, *, instrumentation: Instrumentation | None = None) -> None:
        """Create a client. `instrumentation` receives the events of its sessions."""
        self._instrumentation = instrumentation or Instrumentation()

    async def create(
        self,
        *,
        snapshot: SnapshotSpec | SnapshotBase | None = None,
        manifest: Manifest | None = None,
        options: MicroVMSandboxClientOptions | None = None,
    ) -> SandboxSession:
        """Create a session. The session's `start` starts its machine."""
        options = options or MicroVMSandboxClientOptions()
        number = uuid4()
        state = MicroVMSandboxSessionState(
            session_id=number,
            snapshot=resolve_snapshot(snapshot, str(number)),
            manifest=self._validate_manifest_for_create(manifest or Manifest()),
            exposed_ports=options.exposed_ports,
            options=options,
        )
        return self._session(state)

    def _session(self, state: MicroVMSandboxSessionState) -> SandboxSession:
        session = MicroVMSandboxSession(state)
        return self._wrap_session(session, instrumentation=self._instrumentation)

    async def delete(self, session: SandboxSession) -> SandboxSession:
        """Stop the machine of a session. Its snapshots remain."""
        await session._inner.shutdown()
        return session

    async def resume(self, state: SandboxSessionState) -> SandboxSession:
        """Return a session that continues from the saved workspace, in a new machine."""
        if not isinstance(state, MicroVMSandboxSessionState):
            raise TypeError("MicroVMSandboxClient.resume expects a MicroVMSandboxSessionState")
        state.assert_path_grants_rebound()
        state.workspace_root_ready = False
        return self._session(state)

    def deserialize_session_state(self, payload: dict[str, object]) -> SandboxSessionState:
        """Return the state that `serialize_session_state` has converted to JSON."""
        return self._deserialize_session_state_payload(payload, MicroVMSandboxSessionState)
