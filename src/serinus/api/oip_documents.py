"""What the Open Inference Protocol v2 asks and answers, in its own names."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Parameters = dict[str, bool | int | float | str]


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of GET /v2."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ServerLive(msgspec.Struct, frozen=True, kw_only=True):
    live: bool


class ServerReady(msgspec.Struct, frozen=True, kw_only=True):
    ready: bool


class ModelReady(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ready: bool


class TensorMetadata(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1: of any size."""


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of GET /v2/models/{name}."""

    name: str
    versions: tuple[str, ...]
    """Versions that can be asked for by number in this replica."""
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class TensorIn(msgspec.Struct, frozen=True, kw_only=True):
    """The tensor that is sent."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=8)]
    datatype: str
    parameters: Parameters = {}
    """`binary_data_size`: so many bytes of it follow the JSON, instead of `data`."""
    data: msgspec.Raw | UnsetType = UNSET
    """Numbers in row-major order, flat or nested like the shape."""


class OutputWanted(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is asked for."""

    name: str
    parameters: Parameters = {}
    """`binary_data`: whether it follows the JSON as bytes."""


class InferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /v2/models/{name}/infer."""

    inputs: list[TensorIn]
    outputs: list[OutputWanted] = []
    """Empty: all there are."""
    id: str = ""
    """Comes back in the answer."""
    parameters: Parameters = {}
    """`binary_data_output`: whether outputs follow the JSON as bytes, where they do not say."""


class TensorOut(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of the answer."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Parameters | UnsetType = UNSET
    data: list[float] | UnsetType = UNSET
    """In row-major order; absent when the tensor follows the JSON as bytes."""


class InferReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of POST /v2/models/{name}/infer."""

    model_name: str
    model_version: str
    """The version that answered."""
    id: str
    """As it was sent; else the request id."""
    parameters: Parameters
    """`request_id`, and as in the answer of /predict: `model_used`, `assigned`, `override`, `fallback`."""
    outputs: tuple[TensorOut, ...]


DOCUMENTS: list[type] = [
    ServerMetadata,
    ServerLive,
    ServerReady,
    ModelReady,
    ModelMetadata,
    InferReply,
]
