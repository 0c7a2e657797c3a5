"""Pairs on disk give the same bytes as pairs in memory."""

import hashlib
import io

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.data.dataset import Manifest, Pair, Split
from serinus.data.draft import Draft
from serinus.data.xbd import CLASSES

EDGES = st.floats(0, 1000, allow_nan=False)
PAIRS = st.builds(
    Pair,
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    disaster=st.sampled_from(["a", '"pairs":[]', "ä"]),
    split=st.sampled_from(Split),
    pre=st.sampled_from(["", "images/x.png"]),
    post=st.just("images/y.png"),
    sha256_pre=st.just(""),
    sha256_post=st.just("y"),
    width=st.just(8),
    height=st.just(8),
    boxes=st.lists(st.tuples(EDGES, EDGES, EDGES, EDGES), max_size=3).map(
        lambda boxes: tuple((min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes)
    ),
    classes=st.just(()),
)


@settings(deadline=None, max_examples=50)
@given(pairs=st.lists(PAIRS, max_size=6), source=st.sampled_from(["a.zip", '"pairs":[', '"post_only":[]']))
def test_what_is_written_is_what_would_be_written_from_memory(tmp_path_factory, pairs, source):
    draft = Draft(tmp_path_factory.mktemp("work"))
    for pair in pairs:
        draft.add(pair, fixed=True)
    whole = tuple(pair for pair in pairs if pair.pre)
    post_only = tuple(pair for pair in pairs if not pair.pre)
    manifest = Manifest(
        id="ds-1", sha256="x", created=1.0, source=source, source_sha256="y", seed=0, pairs=(), fixed=("k",)
    )
    out = io.BytesIO()
    draft.write(out, manifest)
    wanted = msgspec.structs.replace(manifest, pairs=whole, post_only=post_only)
    assert out.getvalue() == msgspec.json.encode(wanted)
    content = [list(map(str, CLASSES)), whole, *([post_only] if post_only else [])]
    assert draft.sha256() == hashlib.sha256(msgspec.json.encode(content)).hexdigest()
    assert draft.tally.pairs == len(whole) and draft.post_only == len(post_only)
