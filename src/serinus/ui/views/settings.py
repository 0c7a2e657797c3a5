"""Policies, replicas, health, and what this program is."""

import json

from fastapi.responses import HTMLResponse

from serinus.ui.site import Site


def install(site: Site) -> None:
    """`/settings`."""

    async def settings(policy: str = "") -> HTMLResponse:
        page = await site.get("/api/policies")
        names = [one["name"] for one in page["policies"]]
        chosen = policy if policy in names else page["default"]
        found = await site.get(f"/api/policies/{chosen}")
        schema = await site.get("/api/policies/schema")
        usual = {name: field.get("default") for name, field in schema["properties"].items()}
        shown = found["policy"]["policy"]
        changed = {n: value for n, value in shown.items() if n == "name" or value != usual.get(n)}
        return await site.page(
            "settings.html",
            "/settings",
            policies=page["policies"],
            default=page["default"],
            chosen=found,
            text=json.dumps(changed, indent=2),
            fields=schema["properties"],
        )

    site.add("/settings", settings, "/settings")
