"""Every link, picture, style and script of every page leads somewhere."""

from urllib.parse import urldefrag

import pytest

from tests.api.stage import Stage
from tests.ui import scenes
from tests.ui.test_pages import Page

pytestmark = pytest.mark.anyio


async def test_nothing_leads_nowhere(stage: Stage) -> None:
    scenes.on_trial(stage, 6)
    scenes.disagreements(stage, 1)
    scenes.compared(stage)
    names = scenes.workshop(stage)
    wanted: set[str] = set()
    async with stage.client() as client:
        for path in scenes.PAGES:
            at = path.format(**names)
            found = Page((await client.get(at)).text)
            for tag, attrs in found.tags:
                link = attrs.get("href") or attrs.get("src")
                if link and tag != "base":
                    wanted.add(f"{at}{link}" if link.startswith("#") else link)
        # The jobs of this scene are played, so they have made no reports.
        wanted -= {
            f"/api/jobs/{names['asking']}/report.html",
            f"/api/datasets/{names['dataset']}/report.html",
        }
        broken = {}
        ids: dict[str, set[str | None]] = {}
        for link in sorted(wanted):
            address, fragment = urldefrag(link)
            if address not in ids:
                reply = await client.get(address)
                if reply.status_code != 200:
                    broken[link] = reply.status_code
                is_page = reply.headers.get("content-type", "").startswith("text/html")
                ids[address] = {a.get("id") for _, a in Page(reply.text).tags} if is_page else set()
            if fragment and fragment not in ids[address]:
                broken[link] = 0
    assert broken == {}
