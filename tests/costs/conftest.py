from __future__ import annotations

from tests.compute.conftest import compute as compute
from tests.compute.conftest import modal_backend as modal_backend
from tests.compute.conftest import modal_loopback as modal_loopback
from tests.compute.conftest import seaweedfs as seaweedfs
from tests.compute.conftest import task_settings as task_settings
