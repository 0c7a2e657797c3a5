"""`/api/datasets`: the data sets with their reports and pairs, and how to get the demo data."""

import re
from asyncio import to_thread
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import FileResponse

from serinus.api.board import datasets
from serinus.api.control_deps import ControlDeps
from serinus.api.data_documents import DatasetDetail, DatasetsPage, PairsPage, Started
from serinus.api.documents import DatasetView
from serinus.api.errors import responses
from serinus.api.pages import REPORT_HEADERS
from serinus.api.schema import answers, answers_words, json_response
from serinus.core.errors import Corrupt, NotFound
from serinus.data.browsing import Wanted, head_of, pairs_of
from serinus.data.report import Report
from serinus.data.xbd import CLASSES
from serinus.jobs.model import DemoJob

DOCUMENTS: list[type] = [DatasetDetail, DatasetsPage, PairsPage, Report, Started]
_ID = re.compile(r"ds-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_PAIRS = 100


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/datasets`."""
    routes = APIRouter(prefix="/api/datasets", tags=["Data and training"])
    folder = deps.settings.data_dir / "datasets"

    @routes.get("", responses=answers(DatasetsPage, "Data sets, newest first"))
    async def all_datasets() -> Response:
        """The data sets that are there, with where they come from."""

        def read() -> DatasetsPage:
            golden = _golden(deps)
            return DatasetsPage(datasets=tuple(_detail(folder, one, golden) for one in datasets(folder)))

        return json_response(await to_thread(read))

    @routes.post("/demo", status_code=202, responses=answers(Started, "Queued", status=202) | responses())
    async def demo(
        pairs: Annotated[int, Form(ge=20, le=2000, description="How many pairs of pictures")] = 150,
        seed: Annotated[int, Form(ge=0, le=2**31 - 1, description="Another one gives other places")] = 7,
    ) -> Response:
        """Makes the demo data, as a job: synthetic pairs of a hurricane and a wildfire, as a data set."""
        job = await to_thread(deps.jobs.submit, DemoJob(pairs=pairs, seed=seed))
        words = f"Making {pairs} pairs of demo data; follow it as job {job}."
        return json_response(Started(message=words, job=job), status=202)

    @routes.get("/{dataset}", responses=answers(DatasetDetail, "The data set") | responses(NotFound))
    async def one(dataset: str) -> Response:
        """One data set: where it comes from, and what is in it in short."""

        def read() -> DatasetDetail:
            path = _file(folder, dataset, "report.json").parent
            found = next((each for each in datasets(folder) if each.id == path.name), None)
            return _detail(folder, found or DatasetView(id=path.name, time=0.0), _golden(deps))

        return json_response(await to_thread(read))

    @routes.get("/{dataset}/pairs", responses=answers(PairsPage, "The pairs") | responses(NotFound))
    async def pairs(
        dataset: str,
        *,
        split: Annotated[Literal["", "train", "val", "test"], Query()] = "",
        disaster: Annotated[str, Query(max_length=200)] = "",
        label: Annotated[
            int | None, Query(ge=0, lt=len(CLASSES), description="Only pairs with a building of this class")
        ] = None,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_PAIRS)] = 12,
    ) -> Response:
        """Pairs with their labels, in the order of their keys."""

        def read() -> PairsPage:
            path = _file(folder, dataset, "manifest.json").parent
            page = pairs_of(path, Wanted(split, disaster, label), offset, limit)
            return PairsPage(pairs=page.pairs, total=page.total, classes=tuple(map(str, CLASSES)))

        return json_response(await to_thread(read))

    @routes.get(
        "/{dataset}/images/{sha256}.png",
        responses=answers_words("The picture", "image/png") | responses(NotFound),
        response_class=Response,
    )
    async def image(dataset: str, sha256: str) -> Response:
        """A picture of a pair, as it is stored."""
        if not _SHA256.fullmatch(sha256):
            raise NotFound("There is no such picture.", remedy="GET .../pairs names them.")
        path = await to_thread(_file, folder, dataset, f"images/{sha256}.png")
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}  # its name is its hash
        return FileResponse(path, media_type="image/png", headers=headers)

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


def _golden(deps: ControlDeps) -> dict[str, tuple[str, ...]]:
    """Data set -> golden sets that were made of it."""
    found: dict[str, tuple[str, ...]] = {}
    for one in deps.store.golden_sets():
        found[one.dataset] = (*found.get(one.dataset, ()), one.name)
    return found


def _detail(folder: Path, view: DatasetView, golden: dict[str, tuple[str, ...]]) -> DatasetDetail:
    """A data set whose manifest cannot be read is shown without what it says; its pairs say what is wrong."""
    known = DatasetDetail(id=view.id, time=view.time, pairs=view.pairs, splits=view.splits)
    try:
        head, report = head_of(folder / view.id), _report(folder / view.id / "report.json")
    except Corrupt:
        return known
    return msgspec.structs.replace(
        known,
        source=head.source,
        seed=head.seed,
        parent=head.parent,
        left_out=head.left_out,
        disasters=tuple(report.per_disaster),
        buildings=sum(report.per_class.values()),
        issues=report.issues_total,
        golden=golden.get(view.id, ()),
    )


def _report(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(f"{path} cannot be read: {error}.") from error
