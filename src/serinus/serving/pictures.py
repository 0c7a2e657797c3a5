"""A pair from two files to what networks want: measured, given room, decoded, checked, fitted.

For the threads for pictures; nothing here knows of versions but by the size and stride that they ask for.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput, TooLarge
from serinus.imagery.decode import Data, decode_measured, measure
from serinus.imagery.stack import Fitted, check_pair, fit, fit_stacked
from serinus.serving.pixels import Pixels

_T = TypeVar("_T")
_U = TypeVar("_U")
Fits: TypeAlias = dict[tuple[int, int], Fitted]
"""The pair as networks want it, by the contract's size and stride."""


class Pictures(NamedTuple):
    """A pair of one size, RGB uint8 [H, W, 3] each. Their room is given back when they are freed."""

    pre: npt.NDArray[np.uint8]
    post: npt.NDArray[np.uint8]

    def fit(self, size: int, stride: int) -> Fitted:
        return fit(self.pre, self.post, size=size, stride=stride)


class Stacked(NamedTuple):
    """A pair that came stacked, and is taken apart only to be scaled, for that is slow."""

    pair: npt.NDArray[np.uint8]
    """[H, W, 6]."""

    @property
    def post(self) -> npt.NDArray[np.uint8]:
        return self.pair[..., 3:]

    def fit(self, size: int, stride: int) -> Fitted:
        return fit_stacked(self.pair, size=size, stride=stride)


def decode_pair(pre: Data, post: Data, pixels: Pixels, *, max_pixels: int) -> Pictures:
    """The two files' pictures. `max_pixels`: of each.

    Raises InvalidInput or TooLarge, which say on which; Unavailable when there is no room for the pixels.
    """
    headers = _of_both(lambda data: measure(data, max_pixels=max_pixels), (pre, post))
    sizes = [header.width * header.height for header in headers]
    pixels.take(sum(sizes))
    try:
        files = zip((pre, post), headers, strict=True)
        pictures = Pictures(*_of_both(lambda file: decode_measured(*file), files))
        check_pair(*pictures)
    except BaseException:
        pixels.give_back(sum(sizes))
        raise
    for count, picture in zip(sizes, pictures, strict=True):
        pixels.tie(count, picture)
    return pictures


def hold_pair(pair: npt.NDArray[np.uint8], pixels: Pixels) -> Stacked:
    """`pair` [H, W, 6], with room taken for it. Raises Unavailable when there is none."""
    count = 2 * pair.shape[0] * pair.shape[1]
    pixels.take(count)
    pixels.tie(count, pair)
    return Stacked(pair)


def fit_all(pictures: Pictures | Stacked, contracts: Iterable[Contract]) -> Fits:
    """The pair for every version that may be asked."""
    wanted = {(contract.size, contract.stride) for contract in contracts}
    return {key: pictures.fit(*key) for key in wanted}


def unfitted(fits: Fits, contracts: Iterable[Contract]) -> list[Contract]:
    """Those for whom the pair is not in `fits`."""
    return [contract for contract in contracts if (contract.size, contract.stride) not in fits]


def _of_both(work: Callable[[_U], _T], pair: Iterable[_U]) -> list[_T]:
    """`work` on both; its errors say on which."""
    done = []
    for name, each in zip(("pre_disaster", "post_disaster"), pair, strict=True):
        try:
            done.append(work(each))
        except TooLarge as error:
            raise TooLarge(f"{name}: {error.message}", remedy=error.remedy) from error
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error.message}", remedy=error.remedy) from error
    return done
