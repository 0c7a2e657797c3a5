"""`/api/datasets`: the data sets with their reports, as JSON, CSV and a page with pictures."""

import re
from asyncio import to_thread
from pathlib import Path

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from serinus.api.board import datasets
from serinus.api.control_deps import ControlDeps
from serinus.api.documents import DatasetsPage
from serinus.api.errors import responses
from serinus.api.pages import REPORT_HEADERS
from serinus.api.schema import answers, answers_words, json_response
from serinus.core.errors import Corrupt, NotFound
from serinus.data.report import Report

DOCUMENTS: list[type] = [DatasetsPage, Report]
_ID = re.compile(r"ds-[0-9a-f]{12}")


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/datasets`."""
    routes = APIRouter(prefix="/api/datasets", tags=["Data and training"])
    folder = deps.settings.data_dir / "datasets"

    @routes.get("", responses=answers(DatasetsPage, "Data sets, newest first"))
    async def all_datasets() -> Response:
        """The data sets that are there."""
        return json_response(DatasetsPage(datasets=await to_thread(datasets, folder)))

    @routes.get("/{dataset}/report", responses=answers(Report, "The report") | responses(NotFound))
    async def report(dataset: str) -> Response:
        """What was found, what is used, and every issue with its fix (at most 200; the CSV has all)."""
        path = await to_thread(_file, folder, dataset, "report.json")
        return json_response(await to_thread(_report, path))

    @routes.get(
        "/{dataset}/issues.csv", responses=answers_words("All issues", "text/csv") | responses(NotFound)
    )
    async def issues(dataset: str) -> Response:
        """All issues."""
        path = await to_thread(_file, folder, dataset, "issues.csv")
        return FileResponse(path, media_type="text/csv", filename=f"{dataset}-issues.csv")

    @routes.get(
        "/{dataset}/report.html", responses=answers_words("The page", "text/html") | responses(NotFound)
    )
    async def page(dataset: str) -> Response:
        """The report with charts and sample pairs; one file that needs no other."""
        path = await to_thread(_file, folder, dataset, "report.html")
        return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS)

    return routes


def _file(folder: Path, dataset: str, name: str) -> Path:
    """A file of a data set. Raises NotFound."""
    if not _ID.fullmatch(dataset) or not (folder / dataset / "manifest.json").is_file():
        raise NotFound(f"There is no data set {dataset[:80]!r}.", remedy="GET /api/datasets lists them.")
    path = folder / dataset / name
    if not path.is_file():
        raise NotFound(f"{dataset} has no {name}.", remedy=f"`serinus data report {dataset}` makes its page.")
    return path


def _report(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path} cannot be read: {error}.") from error
