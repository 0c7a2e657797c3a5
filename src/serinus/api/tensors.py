"""The bodies of the Open Inference Protocol: JSON, or JSON with the tensors as bytes behind it.

Pure: bytes in, arrays out, and back. Bytes are little-endian, row-major, without padding; their JSON's length
stands in a header.
"""

import math
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Meta

from serinus.api.memory import Memory
from serinus.api.oip_documents import InferReply, InferRequest, OutputWanted, Parameters, TensorIn, TensorOut
from serinus.api.reading import read_json
from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput, TooLarge

LENGTH_HEADER = "Inference-Header-Content-Length"
INPUT_TYPE = "UINT8"
OUTPUT_TYPE = "FP32"
_REMEDY = "See the Open Inference Protocol v2; GET the model's metadata for names, types and shapes."
_NOT_OFFERED = ("shared_memory_region", "classification")

_MOST_QUOTES = 2000
"""Marks of names and texts; a request needs some forty, and each more is memory many times its size."""
_Byte = Annotated[int, Meta(ge=0, le=255)]
_NUMBERS = b"0123456789+-.eE \t\r\n"
"""What JSON's numbers, and the space between them, are made of."""


class Ask(NamedTuple):
    """A request that was read."""

    request: InferRequest
    pair: npt.NDArray[np.uint8]
    """[H, W, 6], read-only, possibly in the memory of the body."""
    binary: bool
    """Whether the answer's tensor goes as bytes."""


def read_ask(body: Memory, length: str | None, contract: Contract, *, max_pixels: int) -> Ask:
    """A pair from a request's body. `length`: the header that says how long its JSON is, if it came.

    Raises InvalidInput: not the protocol, or not what `contract` takes; TooLarge: over `max_pixels`.
    """
    words, rest = _split(body, length)
    if bytes(words).count(b'"') > _MOST_QUOTES:
        raise _wrong("The request has far more names and texts than the protocol knows.")
    request = read_json(words, InferRequest, what="inference request", remedy=_REMEDY)
    if len(request.inputs) != 1:
        raise _wrong(f"The request has {len(request.inputs)} inputs; the model takes one.")
    wanted = _wanted(request, contract)
    given = request.inputs[0]
    _check_input(given, contract, max_pixels)
    values = _from_bytes(given, rest) if "binary_data_size" in given.parameters else _from_json(given, rest)
    default = request.parameters.get("binary_data_output", False)
    return Ask(request, values.reshape(given.shape)[0], bool(wanted.parameters.get("binary_data", default)))


def write_reply(reply: InferReply, binary: bytes | None) -> tuple[bytes, dict[str, str]]:
    """The body of an answer and its headers; `binary`: its only tensor's bytes, where they go as such."""
    words = msgspec.json.encode(reply)
    if binary is None:
        return words, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(words))}
    return words + binary, headers


def tensor_out(name: str, rows: npt.NDArray[np.float32], *, binary: bool) -> tuple[TensorOut, bytes | None]:
    """Detections [K, 6] as the output [1, K, 6], and its bytes if they go apart."""
    shape = (1, *rows.shape)
    if not binary:
        data = rows.ravel().tolist()
        return TensorOut(name=name, shape=shape, datatype=OUTPUT_TYPE, data=data), None
    raw = rows.astype("<f4").tobytes()
    parameters: Parameters = {"binary_data_size": len(raw)}
    return TensorOut(name=name, shape=shape, datatype=OUTPUT_TYPE, parameters=parameters), raw


def _split(body: Memory, length: str | None) -> tuple[Memory, memoryview]:
    if length is None:
        return body, memoryview(b"")
    if not length.isdecimal() or len(length) > 15 or int(length) > len(body):
        raise _wrong(f"{LENGTH_HEADER} is {length[:20]!r}, the body has {len(body)} bytes.")
    return body[: int(length)], memoryview(body)[int(length) :].toreadonly()


def _wanted(request: InferRequest, contract: Contract) -> OutputWanted:
    if not request.outputs:
        return OutputWanted(name=contract.output_name)
    names = [output.name for output in request.outputs]
    if names != [contract.output_name]:
        raise _wrong(f"The outputs {names} are asked for; the model gives [{contract.output_name!r}].")
    unknown = [name for name in _NOT_OFFERED if name in request.outputs[0].parameters]
    if unknown:
        raise _wrong(f"The output asks for {', '.join(unknown)}, which is not offered here.")
    return request.outputs[0]


def _check_input(given: TensorIn, contract: Contract, max_pixels: int) -> None:
    channels = len(contract.channels)
    asked = f"{contract.input_name!r}, {INPUT_TYPE} [1, H, W, {channels}]"
    name, kind, shape = given.name, given.datatype, given.shape
    fits = len(shape) == 4 and shape[0] == 1 and shape[3] == channels
    if name != contract.input_name or kind != INPUT_TYPE or not fits:
        raise _wrong(f"The input is {name!r}, {kind} {shape}; the model takes {asked}.")
    if shape[1] * shape[2] > max_pixels:
        raise TooLarge(
            f"The input has {shape[1]} x {shape[2]} pixels; the limit is {max_pixels}.",
            remedy="Send tiles. The setting MAX_IMAGE_MP is the limit.",
        )
    if "shared_memory_region" in given.parameters:
        raise _wrong("The input is in shared memory, which is not offered here.")


def _from_bytes(given: TensorIn, rest: memoryview) -> npt.NDArray[np.uint8]:
    size, needed = given.parameters["binary_data_size"], math.prod(given.shape)
    if given.data is not UNSET:
        raise _wrong(f"The input {given.name!r} has both data and binary_data_size.")
    if size != needed or len(rest) != needed:
        raise _wrong(
            f"The shape {given.shape} needs {needed} bytes, binary_data_size is {size!r}, {len(rest)} came."
        )
    return np.frombuffer(rest, np.uint8)


def _from_json(given: TensorIn, rest: memoryview) -> npt.NDArray[np.uint8]:
    if given.data is UNSET:
        raise _wrong(f"The input {given.name!r} has neither data nor binary_data_size.")
    if len(rest):
        raise _wrong(f"{len(rest)} bytes follow the JSON, and no input says that they are its own.")
    text, needed = bytes(given.data), math.prod(given.shape)
    if (count := text.count(b",") + 1) != needed:
        raise _wrong(f"The input's data has {count} numbers, the shape is {given.shape}.")
    # Its brackets say enough: nested lists, one a pixel, would take ten times the memory of the text.
    if text.translate(None, _NUMBERS) not in (_brackets([needed]), _brackets(given.shape)):
        raise _wrong(f"The input's data is nested otherwise than its shape {given.shape}.")
    flat = b"[" + text.translate(None, b"[]") + b"]"
    return np.array(read_json(flat, list[_Byte], what="input's data", remedy=_REMEDY), np.uint8)


def _brackets(shape: list[int]) -> bytes:
    """Data of that shape as JSON, without its numbers."""
    inner = b""
    for size in reversed(shape):
        inner = b"[" + (inner + b",") * (size - 1) + inner + b"]"  # `join` would take 80 bytes for each
    return inner


def _wrong(words: str) -> InvalidInput:
    return InvalidInput(words, remedy=_REMEDY)
