"""What a page says where an error names a command or a request: the page that does the same.

Errors are worded for the command line and for programs. Whoever looks at a page is told of it in its terms:
what the server renders goes through `here`, what a script shows through the same table (`send.js`). What no
page can do keeps its command.
"""

import re

TABLE: tuple[tuple[str, str], ...] = (
    (r"(GET /api/versions lists|`serinus versions list` names) them", "The page Versions lists them"),
    (r"(GET /api/datasets lists them|[Ss]ee `serinus data list`)", "The page Data lists them"),
    (r"`serinus jobs list` names them", "The page Training lists the newest ones"),
    (r"`serinus rollout history` (lists|names) them", "The page History names them"),
    (r"`serinus disagreements list \S+` names them", "The page Disagreements shows them"),
    (r"`serinus policy list` names them", "The page Settings lists them"),
    (r"`serinus policy schema` has all", '"All fields" on the page Settings has all'),
    (
        r"(POST /upload-dataset first|Upload a data set first \(POST /upload-dataset\))",
        "Send an archive on the page Data",
    ),
    (r"Begin again with POST /api/uploads", "Send the file again"),
    (r"`serinus data import FILE\.zip` makes one", "Import an archive on the page Data"),
    (r"Start `serinus up`, or train one", "Train one on the page Training"),
    (r"`serinus rollout start \S+`", '"Start rollout" on the page Versions'),
    (r"Send a token as `Authorization: Bearer`(, or log in at /login)?", "Log in at the top of the page"),
)
"""Regular expressions that Python and JavaScript read alike -> what stands there instead."""


def here(words: str) -> str:
    """`words` for somebody who looks at a page."""
    for what, instead in TABLE:
        words = re.sub(what, instead, words)
    return words
