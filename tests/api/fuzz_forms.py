"""Looks for a form that is read otherwise in one piece of memory than by the library: `make fuzz`.

Arguments are libFuzzer's, such as folders of forms and `-max_total_time=600`. It ends with 1 at the first
such form, and leaves it in a file named crash-...; put it into tests/api/forms when it is mended.
"""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["serinus.api", "starlette.formparsers", "python_multipart"]):
    from tests.api.form_oracle import both


def try_one(data: bytes) -> None:
    in_one_piece, by_library = both(data)
    if in_one_piece != by_library:
        raise AssertionError(f"in one piece: {in_one_piece!r}\nby the library: {by_library!r}")


if __name__ == "__main__":
    logging.disable()  # the library's remarks on what is broken
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
