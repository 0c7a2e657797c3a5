"""A batch: a zip of pairs in, a zip of overlays and results out. One bad pair never fails the rest."""

import asyncio
import csv
import io
import logging
import os
import re
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.api.findings import findings
from serinus.api.inference_documents import (
    BatchProgress,
    BatchResults,
    OverlayChoice,
    PairError,
    PairFindings,
)
from serinus.core.errors import InvalidInput, NotFound, SerinusError, Unavailable
from serinus.data.archive import Archive, ArchiveLimits, Member, UnreadableMember
from serinus.data.naming import Kind, Part, When, classify
from serinus.data.zips import open_zip
from serinus.imagery.overlay import overlay
from serinus.serving.assignment import NOBODY, Caller
from serinus.serving.predict import Predictor
from serinus.serving.prediction import Prediction
from serinus.serving.settings import InferenceSettings

log = logging.getLogger(__name__)

RESULT_NAME = re.compile(r"batch_[0-9a-f]{8,64}\.zip")
_TRIES = 5
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST = 200
"""Characters of a file name; with number and suffix within the 255 bytes that file systems take."""
_WHEN = re.compile(r"_(?:pre|post)_disaster\.[^.]+\Z", re.IGNORECASE)
_HALVES = {"images", "pre", "post"}
"""Folders that hold one kind of file of the folder around them."""
_SUFFIX = {OverlayChoice.PNG: "png", OverlayChoice.JPEG: "jpg"}


class Pair(NamedTuple):
    """The members of one pair: one of each, unless a half is missing or occurs more than once."""

    key: str
    pre: list[Member]
    post: list[Member]
    file: str
    """Name for a file of its own in the result, without a suffix; no other pair has it."""


def pairs_of(archive: Archive, *, most: int) -> list[Pair]:
    """The pairs of an archive by the folders and names of its pictures, ordered by key.

    A pair is in one folder; `images`, `pre` and `post` count as the folder around them. Names are compared
    as written. A name that occurs in several folders gets the folder into its key. Raises InvalidInput
    without a single picture of a pair, and with more than `most` pairs.
    """
    halves: dict[tuple[str, str], dict[When, list[Member]]] = defaultdict(lambda: {when: [] for when in When})
    for member in archive.members:
        part = classify(member.name)
        if isinstance(part, Part) and part.kind is Kind.IMAGE:
            halves[_place(member.name)][part.when].append(member)
    if not halves:
        raise InvalidInput(
            "The archive has no pair of pictures.",
            remedy="Name them <disaster>_<number>_pre_disaster.png and ..._post_disaster.png.",
        )
    if len(halves) > most:
        raise InvalidInput(f"The archive has {len(halves)} pairs; the limit is {most}.", remedy="Split it.")
    often = Counter(name for _, name in halves)
    keyed = {
        f"{folder}/{name}" if folder and often[name] > 1 else name: found
        for (folder, name), found in halves.items()
    }
    taken: set[str] = set()
    return [
        Pair(key, keyed[key][When.PRE], keyed[key][When.POST], _file_name(key, taken))
        for key in sorted(keyed)
    ]


def _file_name(key: str, taken: set[str]) -> str:
    """A harmless file name for `key`, unlike those `taken`, also where upper and lower case are one."""
    plain = _UNSAFE.sub("_", key)[:_LONGEST]
    numbered = (f"{plain}-{number}" for number in count(2))
    name = next(each for each in chain([plain], numbered) if each.lower() not in taken)
    taken.add(name.lower())
    return name


def _place(name: str) -> tuple[str, str]:
    """The folder and the name that the two pictures of a pair have in common."""
    *folders, base = name.split("/")
    if folders and folders[-1].lower() in _HALVES:
        folders.pop()
    return "/".join(folders), _WHEN.sub("", base)


class Batch:
    """One run over one archive; `run` once."""

    def __init__(
        self,
        predictor: Predictor,
        settings: InferenceSettings,
        choice: OverlayChoice,
        *,
        request_id: str,
        caller: Caller = NOBODY,
        told: Callable[[BatchProgress], None] = lambda _: None,
    ) -> None:
        """`told` hears how far it is, from the first pair on."""
        self._predictor = predictor
        self._settings = settings
        self._choice = choice
        self._request_id = request_id
        self._caller = caller
        self._told = told
        self._limits = ArchiveLimits(
            max_files=8 * settings.max_batch_pairs,
            max_file_bytes=settings.max_body_bytes,
            max_pixels=settings.max_image_pixels,
        )

    async def run(self, source: Path, name: str) -> BatchResults:
        """Works on the archive `source` and puts the result `name` into the outputs folder.

        Raises InvalidInput or TooLarge for a bad archive; what is wrong with a pair is in the result.
        """
        folder = self._settings.outputs
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        with ExitStack() as stack:
            archive = await asyncio.to_thread(lambda: stack.enter_context(open_zip(source, self._limits)))
            pairs = await asyncio.to_thread(pairs_of, archive, most=self._settings.max_batch_pairs)
            file = stack.enter_context(
                tempfile.NamedTemporaryFile(dir=folder, prefix=".batch-", suffix=".part")
            )
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
                results = await self._all(archive, pairs, out)
                await asyncio.to_thread(_write_tables, out, results)
            file.flush()
            os.link(file.name, folder / name)
        await asyncio.to_thread(_forget_old, folder, self._settings.outputs_kept)
        return results

    async def _all(self, archive: Archive, pairs: list[Pair], out: zipfile.ZipFile) -> BatchResults:
        gate = asyncio.Semaphore(self._settings.batch_concurrency)
        writing = asyncio.Lock()
        done: list[PairFindings | PairError] = []

        def tell() -> None:
            failed = sum(isinstance(each, PairError) for each in done)
            self._told(
                BatchProgress(request_id=self._request_id, pairs=len(pairs), done=len(done), failed=failed)
            )

        async def one(pair: Pair) -> PairFindings | PairError:
            async with gate:
                try:
                    return await self._one(archive, pair, out, writing)
                except SerinusError as error:
                    return PairError(key=pair.key, error=error.message, remedy=error.remedy)
                except Exception:
                    # A bug that one pair brings out must not cost the others their results.
                    log.exception("A pair of a batch failed.")
                    return PairError(
                        key=pair.key,
                        error="Something went wrong in the server.",
                        remedy=f"The log has the cause under request_id {self._request_id}.",
                    )

        async def counted(pair: Pair) -> PairFindings | PairError:
            done.append(found := await one(pair))
            tell()
            return found

        tell()
        results = await asyncio.gather(*(counted(pair) for pair in pairs))
        return BatchResults(
            request_id=self._request_id,
            num_pairs=len(pairs),
            pairs=[each for each in results if isinstance(each, PairFindings)],
            errors=[each for each in results if isinstance(each, PairError)],
        )

    async def _one(
        self, archive: Archive, pair: Pair, out: zipfile.ZipFile, writing: asyncio.Lock
    ) -> PairFindings:
        pre, post = await asyncio.to_thread(_read, archive, pair)
        prediction = await self._predict(pre, post)
        name = None
        if self._choice is not OverlayChoice.NONE:
            picture = await self._predictor.in_thread(draw, prediction, self._choice)
            name = f"overlays/{pair.file}.{_SUFFIX[self._choice]}"
            async with writing:
                await asyncio.to_thread(out.writestr, zipfile.ZipInfo(name), picture)
        return PairFindings(key=pair.key, overlay=name, **findings(prediction))

    async def _predict(self, pre: bytes, post: bytes) -> Prediction:
        """A batch can wait where a user cannot."""
        for left in reversed(range(_TRIES)):
            try:
                return await self._predictor.predict(
                    pre, post, caller=self._caller, keep_post=self._choice is not OverlayChoice.NONE
                )
            except Unavailable as error:
                if not left:
                    raise
                await asyncio.sleep(error.retry_after)
        raise AssertionError("the loop ends by return or raise")


def draw(prediction: Prediction, choice: OverlayChoice) -> bytes:
    """The post picture with boxes and legend, as PNG or JPEG. Raises ValueError when it was not kept."""
    if prediction.post is None:
        raise ValueError("the post picture was not kept")
    return overlay(prediction.post, prediction.detections, prediction.contract.classes, format=choice.value)


def result_path(folder: Path, name: str) -> Path:
    """The file of a batch result. Raises NotFound for any other name."""
    path = folder / name
    if RESULT_NAME.fullmatch(name) is None or not path.is_file():
        raise NotFound("There is no such file.", remedy="Results of old batches are deleted.")
    return path


def _read(archive: Archive, pair: Pair) -> tuple[bytes, bytes]:
    for members, half in ((pair.pre, "pre"), (pair.post, "post")):
        if not members:
            raise InvalidInput(
                f"The {half} picture is missing.",
                remedy="Add it to the archive, in the same folder and with the same name before "
                f"_{half}_disaster.",
            )
        if len(members) > 1:
            raise InvalidInput(
                f"The {half} picture occurs {len(members)} times: "
                + ", ".join(member.name[:120] for member in members[:3]),
                remedy="Leave only one of them in the archive.",
            )
    try:
        return archive.read(pair.pre[0]), archive.read(pair.post[0])
    except UnreadableMember as error:
        raise InvalidInput(
            f"A picture is damaged in the archive: {error}.", remedy="Pack it again."
        ) from error


def _write_tables(out: zipfile.ZipFile, results: BatchResults) -> None:
    out.writestr("results.json", msgspec.json.format(msgspec.json.encode(results), indent=1))
    if not results.errors:
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["key", "error", "remedy"])
    table.writerows([_inert(cell) for cell in (each.key, each.error, each.remedy)] for each in results.errors)
    out.writestr("errors.csv", text.getvalue())


def _inert(cell: str) -> str:
    """Keys come from the archive: a spreadsheet must not run one as a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _forget_old(folder: Path, kept: int) -> None:
    results = [path for path in folder.iterdir() if RESULT_NAME.fullmatch(path.name)]
    for path in sorted(results, key=lambda path: path.stat().st_mtime)[:-kept]:
        path.unlink(missing_ok=True)
