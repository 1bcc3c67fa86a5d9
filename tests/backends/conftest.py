"""All installed backends, each with its own cache folder."""

from __future__ import annotations

import pytest
from animevid.backends import available_backends

_STATUS = {status.name: status for status in available_backends()}


@pytest.fixture(params=sorted(_STATUS))
def backend_name(request: pytest.FixtureRequest) -> str:
    reason = _STATUS[request.param].unavailable_reason
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
