"""`/api/policies`: named policies, their editions, the schema of the document."""

from asyncio import to_thread
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.decisions import PoliciesPage, PolicyCommand, PolicyPage, SetPolicyCommand
from serinus.api.errors import responses
from serinus.api.preview import Preview, Previewer
from serinus.api.reading import read_command, read_json
from serinus.api.schema import answers, answers_words, json_response, takes
from serinus.control import policies, policy_document
from serinus.core.errors import Conflict, InvalidInput, Misconfigured, NotFound, Unavailable
from serinus.observe.principal import acting
from serinus.rollout.policy import Policy


class PolicyText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as people write it."""

    text: str
    """YAML or JSON, at most 64 KiB."""
    name: str = ""
    """Its name, unless the text says another."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A policy, or why the text is none."""

    policy: Policy | None = None
    mistakes: tuple[policy_document.Mistake, ...] = ()


DOCUMENTS: list[type] = [PoliciesPage, PolicyPage, SetPolicyCommand, PolicyText, Checked, Preview]

_TEXT = 'Send JSON: {"text": "share: 0.25"}.'

_Name = Annotated[str, Path(max_length=64)]


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/policies`."""
    routes = APIRouter(prefix="/api/policies", tags=["Policies"])
    previewer = Previewer(deps.simulate)

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

    @routes.post(
        "/check",
        responses=answers(Checked, "What it is, or what is wrong with it") | responses(InvalidInput),
        openapi_extra=takes(PolicyText),
    )
    async def check(request: Request) -> Response:
        """Reads a policy as people write it, in YAML or JSON: every mistake with its line and column."""
        given = read_json(await request.body(), PolicyText, what="policy", remedy=_TEXT)
        return json_response(await to_thread(_check, given))

    @routes.post(
        "/preview",
        responses=answers(Preview, "What it would do") | responses(InvalidInput, Unavailable, Misconfigured),
        openapi_extra=takes(PolicyText),
    )
    async def preview(request: Request) -> Response:
        """Simulates a policy: how often it promotes and rolls back good and bad canaries.

        Takes some seconds; ends when the caller goes away. One at a time.
        """
        given = read_json(await request.body(), PolicyText, what="policy", remedy=_TEXT)
        policy = await to_thread(_read_text, given)
        return json_response(await previewer.preview(policy.name, given.text, request.is_disconnected))

    @routes.get("/{name}", responses=answers(PolicyPage, "The policy") | responses(NotFound))
    async def show(name: _Name) -> Response:
        """One policy with all its editions: who set it when, and why."""

        def read() -> PolicyPage:
            found = policies.look_up(deps.store, name, deps.settings.policy)
            return PolicyPage(policy=found, editions=tuple(policies.editions(deps.store, name)))

        return json_response(await to_thread(read))

    @routes.put(
        "/{name}",
        responses=answers(PolicyPage, "The policy as it is now") | responses(InvalidInput, Conflict),
        openapi_extra=takes(SetPolicyCommand),
    )
    async def put(name: _Name, request: Request) -> Response:
        """Sets what a name means from now on; rollouts that were started keep theirs."""
        command = read_command(await request.body(), SetPolicyCommand)
        actor = acting(command.actor)

        def write() -> PolicyPage:
            if command.document is None:
                policy = _read_text(PolicyText(text=command.text, name=name))
            else:
                policy = _read(command.document, name)
            policies.put(deps.store, name, policy, actor=actor, reason=command.reason, expect=command.expect)
            found = policies.look_up(deps.store, name, deps.settings.policy)
            return PolicyPage(policy=found, editions=tuple(policies.editions(deps.store, name)))

        return json_response(await to_thread(write))

    return routes


def _read_text(given: PolicyText) -> Policy:
    return policy_document.read(given.text.encode(), given.name or "policy", given.name)


def _check(given: PolicyText) -> Checked:
    try:
        return Checked(policy=_read_text(given))
    except policy_document.InvalidPolicy as error:
        return Checked(mistakes=tuple(error.mistakes))


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
