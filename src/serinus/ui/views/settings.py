"""Policies, replicas, health, and what this program is."""

import json
from typing import Any

from fastapi.responses import HTMLResponse

from serinus.ui.site import Site

_FIRST = ("share", "window_seconds", "max_error_rate", "on_insufficient")
"""What most policies are about: it is there to be changed, also where it is as usual."""


def install(site: Site) -> None:
    """`/settings`."""

    async def settings(policy: str = "") -> HTMLResponse:
        page = await site.get("/api/policies")
        names = [one["name"] for one in page["policies"]]
        chosen = policy if policy in names else page["default"]
        found = await site.get(f"/api/policies/{chosen}")
        schema = await site.get("/api/policies/schema")
        usual = {name: field.get("default") for name, field in schema["properties"].items()}
        text = json.dumps(_worth_saying(found["policy"], usual), indent=2)
        return await site.page(
            "settings.html",
            "/settings",
            policies=page["policies"],
            default=page["default"],
            chosen=found,
            text=text,
            fields=schema["properties"],
        )

    site.add("/settings", settings, "/settings")


def _worth_saying(named: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """A policy as a person would write it: what differs from the defaults, and what is often changed."""
    policy = named["policy"]
    name = f"my-{policy['name']}" if named["built_in"] else policy["name"]
    first = {field: policy[field] for field in _FIRST if not (field == "share" and policy["steps"])}
    others = {
        field: value for field, value in policy.items() if value != usual.get(field) and field != "name"
    }
    return {"name": name, **first, **others}
