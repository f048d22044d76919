from __future__ import annotations

from tests.compute.conftest import compute as compute
from tests.compute.conftest import task_settings as task_settings
