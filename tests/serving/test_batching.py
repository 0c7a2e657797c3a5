"""Requests that share a run of the model: when they do, and that none of them pays for another."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm, Device, FailureKind
from serinus.core.errors import Misconfigured, ModelFault
from serinus.core.ids import Version
from serinus.engine.pace import Pace, measure
from serinus.engine.session import Model
from serinus.imagery.decode import encode_png
from serinus.serving.batching import Batching, choose
from serinus.serving.pool import Pool, PoolState
from serinus.serving.tasks import Rows
from serinus.serving.worker_handle import DiedLoading, VersionFailed, WorkerProcess, WorkerSpec
from tests import models
from tests.serving.house import house, pair, publish, start_canary, wait_for
from tests.serving.test_predict import TO_CANARY, failures, observed

Images = npt.NDArray[np.uint8]
SHARED = Batching(4, 2.0, "for the test")
"""Four requests within two seconds share a run."""


def test_batches_are_used_where_they_pay() -> None:
    gpu = choose(Pace(milliseconds={1: 8.0, 2: 8.4, 4: 9.2, 8: 16.0}), 0.005)
    assert (gpu.on, gpu.size, gpu.wait_seconds) == (True, 8, 0.005)
    small = choose(Pace(milliseconds={1: 0.4, 2: 0.5, 4: 0.8, 8: 1.7}), 0.005)
    assert (small.size, small.wait_seconds) == (4, 0.0004), "never longer than a picture alone takes"
    processor = choose(Pace(milliseconds={1: 16.0, 2: 31.8}, stopped="larger ones do not pay"), 0.005)
    assert not processor.on
    assert "16.00 ms alone and 15.90 ms in a batch of 2" in processor.why
    forbidden = choose(Pace(milliseconds={1: 8.0, 2: 8.4}), 0.0)
    assert (forbidden.on, forbidden.why) == (False, "BATCH_WAIT_SECONDS is 0")
    assert choose(Pace(), 0.005).why == "not measured"


def loaded(draft: Path) -> Model:
    return Model.load(draft / "model.onnx", contract_of(draft))


def contract_of(draft: Path) -> Contract:
    return msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)


def test_what_cannot_take_batches_is_found_out(tmp_path: Path) -> None:
    free = measure(loaded(models.raises_on_white(tmp_path / "free")), device=Device.CPU)
    assert choose(free, 0.005).size == 8, "its cost is the batch's, not the picture's"
    heavy = measure(loaded(models.healthy(tmp_path / "heavy")), device=Device.CPU)
    assert {1, 2} <= set(heavy.milliseconds)
    fixed = loaded(models.one_at_a_time(tmp_path / "fixed"))
    assert fixed.infer(models.golden_images(pairs=1)).shape == (1, 8, 6), "it serves all the same"
    assert measure(fixed, device=Device.CPU).stopped == "the graph takes one picture at a time"
    liar = measure(loaded(models.raises_on_batches(tmp_path / "liar")), device=Device.CPU)
    assert (set(liar.milliseconds), "a batch of 2 failed" in liar.stopped) == ({1}, True)
    mixing = measure(loaded(models.counts_its_batch(tmp_path / "mixing")), device=Device.CPU)
    assert (set(mixing.milliseconds), "answers otherwise" in mixing.stopped) == ({1}, True)
    assert not choose(liar, 0.005).on
    assert not choose(mixing, 0.005).on


def test_a_fixed_batch_of_more_than_one_is_refused(tmp_path: Path) -> None:
    graph = models.healthy_graph()
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFault, match="has fixed N"):
        Model.load(tmp_path / "model.onnx", Contract())


@contextmanager
def pool_of(draft: Path, *, decide: Callable[[Pace], Batching] = lambda _: SHARED) -> Iterator[Pool]:
    """One worker, ready."""
    spec = WorkerSpec(
        model=draft / "model.onnx",
        contract=contract_of(draft),
        threads=1,
        nice=0,
        memory_bytes=1 << 30,
        load_seconds=60,
        infer_seconds=20,
    )
    pool = Pool(Version(1), lambda: spec, workers=1, queue_size=64, start_limit=3, choose=decide)
    try:
        wait_for(lambda: pool.state is PoolState.READY, "the worker")
        yield pool
    finally:
        pool.close()


def picture(seed: int = 0, size: int = 64) -> Images:
    return np.random.default_rng(seed).integers(0, 255, (1, size, size, 6), np.uint8)


WHITE = np.full((1, 64, 64, 6), 255, np.uint8)


def submit(pool: Pool, *images: Images, wait: bool = True) -> list["Future[Rows]"]:
    return [pool.submit(image, monotonic() + 30, wait_for_worker=wait) for image in images]


def tenths(futures: list["Future[Rows]"]) -> list[int]:
    """How many shared each one's run."""
    return [round(10 * float(future.result(30)[0, 4])) for future in futures]


@pytest.mark.processes
def test_what_waits_together_runs_together_and_gets_its_own_answer(tmp_path: Path) -> None:
    alone = loaded(models.counts_its_batch(tmp_path / "m"))
    with pool_of(tmp_path / "m") as pool:
        images = [picture(seed) for seed in range(4)]
        futures = submit(pool, *images)
        assert tenths(futures) == [4, 4, 4, 4]
        for future, image in zip(futures, images, strict=True):
            np.testing.assert_allclose(future.result()[:, :4], alone.infer(image)[0, :, :4], atol=1e-3)
        mixed = submit(pool, picture(1), picture(2, size=32), picture(3), picture(4))
        assert tenths(mixed)[:2] == [1, 1], "other sizes share no run"
        for future in submit(pool, picture(1), picture(2), picture(3))[1:2]:
            assert future.cancel(), "who leaves while others are gathered is not asked"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (models.raises_on_white, FailureKind.EXCEPTION),
        (models.crashes_on_white, FailureKind.CRASH),
    ],
)
def test_one_bad_pair_fails_alone(tmp_path: Path, make: Callable[..., Path], kind: FailureKind) -> None:
    with pool_of(make(tmp_path / "m", rounds=1)) as pool:
        futures = submit(pool, picture(0), WHITE, picture(2), picture(3))
        for number in (0, 2, 3):
            assert futures[number].result(30).shape == (8, 6)
        with pytest.raises(VersionFailed) as failed:
            futures[1].result(30)
        assert failed.value.kind is kind


@pytest.mark.processes
def test_who_shared_a_run_with_a_crash_need_not_wait_for_a_dead_canary(tmp_path: Path) -> None:
    with pool_of(models.crashes_on_white(tmp_path / "m", rounds=1)) as pool:
        for future in submit(pool, picture(0), WHITE, picture(2), picture(3), wait=False):
            with pytest.raises(VersionFailed) as failed:
                future.result(30)
            assert failed.value.kind is FailureKind.UNAVAILABLE, "current answers it now"


@pytest.mark.processes
def test_what_was_put_back_is_refused_when_the_version_goes(tmp_path: Path) -> None:
    pool_gone = pool_of(models.crashes_on_white(tmp_path / "m", rounds=1))
    with pool_gone as pool:
        futures = submit(pool, picture(0), WHITE, WHITE, WHITE)
    for future in futures:
        assert future.exception(30) is None or isinstance(future.exception(30), VersionFailed)


@pytest.mark.processes
@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="built for CUDA")
def test_a_gpu_that_is_not_there_is_no_fault_of_the_version(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "m")
    contract = contract_of(draft)
    with pytest.raises(Misconfigured, match="cannot use the GPU"):
        Model.load(draft / "model.onnx", contract, device=Device.CUDA)
    spec = WorkerSpec(draft / "model.onnx", contract, 1, 0, 1 << 30, 60, 20, device=Device.CUDA)
    worker = WorkerProcess(spec)
    try:
        with pytest.raises(DiedLoading, match="exit code 1"):
            worker.wait_ready()
    finally:
        worker.close()


@pytest.mark.processes
def test_evidence_counts_each_request_of_a_batch(tmp_path: Path) -> None:
    white = encode_png(np.full((64, 64, 3), 255, np.uint8))
    with house(tmp_path, coins=[TO_CANARY], workers=1, batch_wait_seconds=0.5) as made:
        canary = publish(made.store, models.raises_on_white(tmp_path / "canary", rounds=300))
        rollout = start_canary(made.store, canary)
        made.wait_serves(Version(1), canary)
        seat = next(seat for seat in made.residency.seats() if seat.target.version == canary)
        assert seat.pool.batching.on, seat.pool.batching
        pairs = [pair(64, seed) for seed in range(7)] + [(white, white)]

        async def ask_all() -> list[bool]:
            found = await asyncio.gather(*(made.predictor.predict(*each) for each in pairs))
            return [each.fallback for each in found]

        fallbacks = asyncio.run(ask_all())
        assert fallbacks == [False] * 7 + [True], "current answers the bad pair, and that one only"
        counts = observed(made, rollout, 8)
        assert failures(counts, Arm.CANARY) == {FailureKind.EXCEPTION: 1}
        assert sum(cell.successes for cell in counts if cell.arm is Arm.CANARY) == 7
