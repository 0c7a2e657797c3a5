"""`/api/policies`: named policies, their editions, the schema of the document."""

from asyncio import to_thread
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.documents import PoliciesPage, PolicyCommand, PolicyPage, SetPolicyCommand
from serinus.api.errors import responses
from serinus.api.reading import read_command
from serinus.api.schema import answers, answers_words, json_response, takes
from serinus.control import policies, policy_document
from serinus.core.errors import InvalidInput, NotFound
from serinus.rollout.policy import Policy

DOCUMENTS: list[type] = [PoliciesPage, PolicyPage, SetPolicyCommand]

_Name = Annotated[str, Path(max_length=64)]


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/policies`."""
    routes = APIRouter(prefix="/api/policies", tags=["Policies"])

    @routes.get("", responses=answers(PoliciesPage, "All policies, the built-in ones first"))
    async def list_policies() -> Response:
        """The policies that a rollout may get."""
        found = await to_thread(policies.policies, deps.store, deps.settings.policy)
        return json_response(PoliciesPage(policies=tuple(found), default=deps.settings.policy_name))

    @routes.get("/schema", responses=answers_words("JSON Schema, draft 2020-12", "application/schema+json"))
    async def schema() -> Response:
        """The JSON Schema of a policy document, for editors."""
        return Response(
            msgspec.json.encode(await to_thread(policy_document.schema)), media_type="application/schema+json"
        )

    @routes.get("/{name}", responses=answers(PolicyPage, "The policy") | responses(NotFound))
    async def show(name: _Name) -> Response:
        """One policy with all its editions: who set it when, and why."""

        def read() -> PolicyPage:
            found = policies.look_up(deps.store, name, deps.settings.policy)
            return PolicyPage(policy=found, editions=tuple(policies.editions(deps.store, name)))

        return json_response(await to_thread(read))

    @routes.put(
        "/{name}",
        responses=answers(PolicyPage, "The policy as it is now") | responses(InvalidInput),
        openapi_extra=takes(SetPolicyCommand),
    )
    async def put(name: _Name, request: Request) -> Response:
        """Sets what a name means from now on; rollouts that were started keep theirs."""
        command = read_command(await request.body(), SetPolicyCommand)
        actor = f"{command.actor.strip() or 'operator'} via ui"

        def write() -> PolicyPage:
            policy = _read(command.document, name)
            policies.put(deps.store, name, policy, actor=actor, reason=command.reason)
            found = policies.look_up(deps.store, name, deps.settings.policy)
            return PolicyPage(policy=found, editions=tuple(policies.editions(deps.store, name)))

        return json_response(await to_thread(write))

    return routes


def policy_of(deps: ControlDeps, command: PolicyCommand) -> Policy:
    """The policy that a command names or brings. Raises NotFound, InvalidInput."""
    if command.document is not None:
        return _read(command.document, command.name or "unnamed")
    if not command.name:
        raise InvalidInput("The decision names no policy.", remedy='Send {"name": ...} or {"document": ...}.')
    return policies.named(deps.store, command.name, deps.settings.policy)


def _read(document: object, name: str) -> Policy:
    # Formatted as a person would see it, so that a line of a mistake is a line of the document.
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return policy_document.read(text, "document", name)
