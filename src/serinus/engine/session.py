"""One loaded `model.onnx` that keeps its contract."""

import re
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from serinus.artifact.manifest import Contract
from serinus.core.enums import Device
from serinus.core.errors import InvalidInput, Misconfigured, ModelFault
from serinus.engine import output

Images = npt.NDArray[np.uint8]
Detections = npt.NDArray[np.float32]

CUDA = "CUDAExecutionProvider"
_ON_CPU = "CPUExecutionProvider"
_INPUT_TYPE = "tensor(uint8)"
_OUTPUT_TYPE = "tensor(float)"
_FATAL_ONLY = 4
_NOISE = (
    (re.compile(r"\[ONNXRuntimeError\] : \d+ : (\w+) : "), r"\1: "),
    (
        re.compile(
            r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message:"
        ),
        r"\1 \2:",
    ),
    (re.compile(r"/\S+\.(?:h|cc|cpp):\d+ (?:[\w:*&<> ]+::[^()]+\([^()]*\)(?: const)? )?"), ""),
    (re.compile(r" +(?=[ :])"), ""),
)

# ONNX Runtime's errors share no base class of their own.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    ort_state.EPFail,
    ort_state.EngineError,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.ModelLoadCanceled,
    ort_state.ModelLoaded,
    ort_state.ModelRequiresCompilation,
    ort_state.NoModel,
    ort_state.NoSuchFile,
    ort_state.NotFound,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    MemoryError,
    RuntimeError,
    ValueError,
)


class Model:
    """A version ready to answer. Use `Model.load`. `infer` may be called from several threads."""

    def __init__(self, session: ort.InferenceSession, contract: Contract) -> None:
        self._session = session
        self.contract = contract

    @classmethod
    def load(
        cls,
        path: Path,
        contract: Contract,
        *,
        threads: int = 1,
        device: Device = Device.CPU,
        device_bytes: int | None = None,
    ) -> Self:
        """Loads `path` and checks its input and output against `contract`.

        `threads`: how many threads one `infer` may use. They sleep when idle (no spinning): several versions
        share the machine's cores. `device_bytes`: what it may allocate on a GPU. Raises ModelFault: no such
        file, not a model, other names, types or dimensions than the contract's; Misconfigured: the device
        cannot be used here.
        """
        session = open_session(path, threads=threads, device=device, device_bytes=device_bytes)
        _check_contract(session, contract)
        return cls(session, contract)

    @property
    def takes_batches(self) -> bool:
        """Whether the graph says that it takes more than one picture at a time."""
        return not isinstance(self._session.get_inputs()[0].shape[0], int)

    def infer(self, images: Images, *, shrink: bool = False) -> Detections:
        """Detections of a batch: uint8 [N, H, W, C] -> float32 [N, K, 6] (see `Contract`).

        `shrink`: memory that larger batches took is given back after it.

        H and W are multiples of `contract.stride`. Only the shape and type of the answer are checked here;
        `output.check` checks the values. Raises InvalidInput: `images` has a wrong shape or type; ModelFault:
        the model raised; InvalidOutput (a ModelFault): it answered with a wrong shape or type.
        """
        self._check_images(images)
        contract = self.contract
        try:
            (found,) = self._session.run(
                [contract.output_name], {contract.input_name: images}, _SHRINKING if shrink else None
            )
        except _RUNTIME_ERRORS as error:
            shape = "x".join(map(str, images.shape))
            raise ModelFault(f"the model raised on an input of {shape}: {_brief(error)}") from error
        return output.check_shape(found, batch=len(images), max_detections=contract.max_detections)

    def _check_images(self, images: Images) -> None:
        channels, stride = len(self.contract.channels), self.contract.stride
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise InvalidInput(
                f"the model takes uint8 [N, H, W, {channels}], not {images.dtype} {list(images.shape)}."
            )
        _, height, width, _ = images.shape
        if not images.size or height % stride or width % stride:
            raise InvalidInput(f"height {height} and width {width} must be multiples of {stride}, and not 0.")


def _shrinking() -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


_SHRINKING = _shrinking()


def open_session(
    path: Path, *, threads: int = 1, device: Device = Device.CPU, device_bytes: int | None = None
) -> ort.InferenceSession:
    """Loads a graph, whatever it takes and gives. Raises ModelFault, Misconfigured for a device that cannot
    be used here.
    """
    try:
        session = ort.InferenceSession(
            str(path), _options(threads), providers=_providers(device, device_bytes)
        )
    except _RUNTIME_ERRORS as error:
        raise ModelFault(
            f"{path.name} does not load: {_brief(error)}", remedy="Export it again and publish that."
        ) from error
    if device is Device.CUDA and session.get_providers()[0] != CUDA:
        # The runtime goes on with the CPU by itself, and says so in its log only.
        raise Misconfigured(
            f"ONNX Runtime {ort.__version__} cannot use the GPU here.",
            remedy="Say DEVICE=cpu, or see its log.",
        )
    return session


def _providers(device: Device, device_bytes: int | None) -> list[str | tuple[str, dict[str, str]]]:
    if device is Device.CPU:
        return [_ON_CPU]
    options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    if device_bytes is not None:
        options["gpu_mem_limit"] = str(device_bytes)
    return [(CUDA, options), _ON_CPU]


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False  # plans memory for one input shape; ours change with the pictures
    options.log_severity_level = _FATAL_ONLY  # what goes wrong is raised, not printed
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_contract(session: ort.InferenceSession, contract: Contract) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [i.name for i in inputs] != [contract.input_name]:
        raise ModelFault(
            f"the model's inputs are {_names(inputs)}, not the contract's {contract.input_name!r}."
        )
    if contract.output_name not in [o.name for o in outputs]:
        raise ModelFault(f"the model's outputs are {_names(outputs)}, without {contract.output_name!r}.")
    given = inputs[0]
    channels = len(contract.channels)
    if given.type != _INPUT_TYPE or len(given.shape) != 4 or given.shape[3] != channels:
        asked = f"uint8 [N, H, W, {channels}]"
        raise ModelFault(f"input {given.name!r} is {given.type} {given.shape}, not the contract's {asked}.")
    fixed = [name for name, size in zip("NHW", given.shape, strict=False) if isinstance(size, int)]
    if fixed and (fixed != ["N"] or given.shape[0] != 1):
        raise ModelFault(
            f"input {given.name!r} has fixed {', '.join(fixed)} ({given.shape}).",
            remedy="Export it with dynamic height and width, and a dynamic batch or one of 1.",
        )
    found = next(o for o in outputs if o.name == contract.output_name)
    columns = found.shape[-1] if found.shape else None
    wrong_columns = isinstance(columns, int) and columns != output.COLUMNS
    if found.type != _OUTPUT_TYPE or len(found.shape) != 3 or wrong_columns:
        raise ModelFault(
            f"output {found.name!r} is {found.type} {found.shape}; the contract asks for float32 [N, K, 6]."
        )


def _names(values: list[Any]) -> str:
    return ", ".join(repr(v.name) for v in values) or "none"


def _brief(error: Exception) -> str:
    """The runtime's own words on one line, without its source paths and signatures."""
    words = " ".join(str(error).split())
    for noise, instead in _NOISE:
        words = noise.sub(instead, words)
    return words[:500] or type(error).__name__
