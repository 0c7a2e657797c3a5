"""A version that is broken on purpose, as a job: it passes the checks and is rolled back."""

import httpx
import pytest

from serinus.core.enums import JobState, RolloutPhase, VersionState
from tests.processes.installation import Installation, eventually

pytestmark = pytest.mark.processes


def test_it_is_published_shown_and_rolled_back(place: Installation) -> None:
    reply = httpx.post(f"{place.ui}/api/versions/broken", data={"actor": "alice"})
    assert reply.status_code == 202, reply.text
    address = f"{place.ui}/api/jobs/{reply.json()['job']}"

    def over() -> bool:
        return httpx.get(address).json()["job"]["state"] not in (JobState.QUEUED, JobState.RUNNING)

    eventually(over, "the job is over", tell=lambda: httpx.get(address).text + place.log())
    detail = httpx.get(address).json()
    assert detail["job"]["state"] == JobState.SUCCEEDED, detail
    output = detail["output"]
    assert (output["version"], output["failed"]) == (2, 0), output
    assert 0 < output["fallbacks"] < output["sent"]
    assert output["outcome"].startswith("Version 2 was turned down: ")
    state = place.store.state()
    assert state.versions[2].state is VersionState.REJECTED
    assert state.last is not None and state.last.phase is RolloutPhase.ROLLED_BACK
    assert state.current == 1
    assert "broken on purpose" in state.versions[2].note
