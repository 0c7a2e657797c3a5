"""Policies as documents, by name, and with their history."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.bootstrap.edge import new_id, now
from serinus.control.policies import editions, look_up, named, policies, put
from serinus.control.policy_document import InvalidPolicy, allowed, descriptions, read, schema
from serinus.control.policy_faults import faults
from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.rollout.events import RolloutStarted
from serinus.rollout.policy import DEFAULT, LITERAL, ByCookie, ByHeader, Loss, OnInsufficient, Policy, Rule
from serinus.store import Store
from tests import models
from tests.control.world import World

YAML = """\
# for releases on a Friday
description: slowly
steps: [0.05, 0.25, 0.5]
window_seconds: 600
on_insufficient: rollback
sticky: {by: header, name: X-User-Id}
override_header: X-Serinus-Arm
"""
MEANT = Policy(
    name="careful",
    description="slowly",
    steps=(0.05, 0.25, 0.5),
    window_seconds=600.0,
    on_insufficient=OnInsufficient.ROLLBACK,
    sticky=ByHeader("X-User-Id"),
    override_header="X-Serinus-Arm",
)


def mistakes(text: str, file: str = "p.yaml") -> list[str]:
    with pytest.raises(InvalidPolicy) as refused:
        read(text.encode(), file, "x")
    return refused.value.message.splitlines()


def test_yaml_and_json_say_the_same() -> None:
    assert read(YAML.encode(), "careful.yaml", "careful") == MEANT
    as_json = json.dumps(
        {
            "$schema": "policy.schema.json",
            "name": "careful",
            "description": "slowly",
            "steps": [0.05, 0.25, 0.5],
            "window_seconds": 600,
            "on_insufficient": "rollback",
            "sticky": {"by": "header", "name": "X-User-Id"},
            "override_header": "X-Serinus-Arm",
        },
        indent="\t",
    )
    assert read(as_json.encode(), "careful.json") == MEANT
    assert read(b"sticky:\n  by: cookie\n  name: session\n", "p", "x").sticky == ByCookie("session")
    assert read(b"{}", "p", "x") == Policy(name="x")


def test_every_mistake_is_named_with_line_and_column_and_what_is_allowed() -> None:
    found = mistakes(
        "share: 1.5\nstepz: 3\non_insufficient: holdd\nsteps:\n  - 0.05\n  - 2\nprobes: yes\n"
        "max_evaluation: 2.5\n"
    )
    assert found == [
        "p.yaml:1:8: share is 1.5; allowed: a number above 0 and at most 1.",
        "p.yaml:2:1: there is no field 'stepz'; did you mean steps?",
        "p.yaml:3:18: on_insufficient is holdd; allowed: hold, promote, rollback.",
        "p.yaml:6:5: steps[1] is 2; allowed: a number above 0 and at most 1.",
        "p.yaml:7:9: probes is yes; allowed: true or false.",
        "p.yaml:8:17: max_evaluation is 2.5; allowed: a whole number at least 1 and at most 1000000.",
    ]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{\n\t"window_seconds": -1\n}', "2:20", "above 0"),
        ('{\n "share": 0.5,\n', "3:1", "no YAML or JSON"),
        ("share: 0.5\nshare: 0.2\n", "2:1", "a second time"),
        ("steps: [0.5, 0.25]\n", "1:1", "must rise"),
        ("steps: [0.05, 0.5]\nrule: counting\n", "1:1", "steps need the rule evidence"),
        ("steps: [0.05, 0.5]\nshare: 0.2\n", "2:8", "one of them"),
        ("window_seconds: .nan\n", "1:17", "above 0"),
        ("window_seconds: .inf\n", "1:17", "above 0"),
        ("share: &x 0.5\n", "1:8", "anchors"),
        ("share: !!python/object:os.system 1\n", "1:8", "no plain value"),
        ("sticky: {by: header, name: 'X User'}\n", "1:28", "sticky.name is X User; allowed: a text like"),
        (
            "class_gates:\n- {metric: recall}\n- {metric: f1}\n",
            "3:12",
            "class_gates[1].metric is f1; allowed: ap50, recall.",
        ),
        ("class_gates:\n- {margin: .nan}\n", "2:12", "margin is nan; allowed: a number at least 0"),
        (
            "feedback: {margin: 0.1, min_pairs: 0}\n",
            "1:36",
            "feedback.min_pairs is 0; allowed: a whole number at least 1 and at most 1000000.",
        ),
        ("feedback: {margn: 0.1}\n", "1:12", "feedback has no field 'margn'; did you mean margin?"),
        ("feedback: 3\n", "1:11", "metric: map50|precision|recall"),
        ("sticky: {by: ip}\n", "1:14", "sticky.by is ip; allowed: header, cookie."),
        ("share: 1\nsticky:\n  by: header\n", "3:3", "sticky lacks the field name; allowed: a text like"),
        ("sticky: {name: X}\n", "1:9", "sticky lacks the field by; allowed: header, cookie."),
        ("sticky: {by: [1], name: X}\n", "1:14", "sticky.by is [1]; allowed: header, cookie."),
        ("name: a/b\n", "1:7", "a text like"),
        ('{"description": "\\ud800"}\n', "1:17", "half a character"),
        ('{"\\udfff": 1}\n', "1:2", "half a character"),
        ("? [a, b]\n: 1\n", "1:3", "the name of a field is a plain text"),
        ("sticky:\n  ? {a: b}\n  : 1\n", "2:5", "the name of a field is a plain text"),
        ("- share\n", "1:1", "a mapping of fields"),
        ("", "1:1", "a mapping of fields"),
        ("share: [[[[[[[[[[1]]]]]]]]]]\n", "1:16", "nested deeper"),
        ("#" * 70_000, "1:1", "64 KiB"),
        ("share: 0.5\n\0", "1:1", "no YAML or JSON"),
        ("[" * 20_000, "1:1", "no YAML or JSON"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(text: str, place: str, words: str) -> None:
    found = mistakes(text)
    assert any(line.startswith(f"p.yaml:{place}: ") and words in line for line in found), found


def test_what_a_whole_policy_lacks_is_named_beside_other_mistakes() -> None:
    assert mistakes("window_seconds: .inf\nsteps: [0.5, 0.25]\nshares: 1\nmax_error_rate: 7\n") == [
        "p.yaml:1:17: window_seconds is inf; allowed: a number above 0.",
        "p.yaml:2:1: steps must rise from each one to the next.",
        "p.yaml:3:1: there is no field 'shares'; did you mean share?",
        "p.yaml:4:17: max_error_rate is 7; allowed: a number above 0 and below 1.",
    ]


def test_mistakes_inside_a_field_all_stand_at_their_own_place_with_the_reason() -> None:
    assert mistakes("feedback:\n  metric: recall\n  bogus: 2\n") == [
        "p.yaml:3:3: feedback has no field 'bogus'; allowed: metric, margin, confidence, min_pairs, required."
    ]
    gates = "class_gates:\n- {metric: f1, margin: 2}\n- {loss: certain}\n- {min_objects: 0}\n-\n  foo: 1\n"
    assert mistakes(gates) == [
        "p.yaml:2:12: class_gates[0].metric is f1; allowed: ap50, recall.",
        "p.yaml:2:24: class_gates[0].margin is 2; allowed: a number at least 0 and at most 1.",
        "p.yaml:3:10: class_gates[1].loss is certain; allowed: possible, proven.",
        "p.yaml:4:17: class_gates[2].min_objects is 0;"
        " allowed: a whole number at least 1 and at most 1000000.",
        "p.yaml:6:3: class_gates[3] has no field 'foo'; allowed: metric, loss, margin, confidence,"
        " min_objects, min_pictures.",
    ]
    assert mistakes("sticky: {by: cookie, nam: X}\nsteps: [0.1, half, 3]\n") == [
        "p.yaml:1:9: sticky lacks the field name; allowed: a text like ^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$.",
        "p.yaml:1:22: sticky has no field 'nam'; did you mean name?",
        "p.yaml:2:14: steps[1] is half; allowed: a number above 0 and at most 1.",
        "p.yaml:2:20: steps[2] is 3; allowed: a number above 0 and at most 1.",
    ]


NAMES = st.sampled_from(["by", "name", "metric", "loss", "margin", "min_objects", "foo"])
LEAVES = st.sampled_from([None, True, 0, 0.5, 3, -1.0, float("nan"), "header", "recall", "proven", "X Y"])
VALUES = st.recursive(
    LEAVES, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=3)
)


@given(st.sampled_from(msgspec.structs.fields(Policy)), VALUES)
def test_a_value_is_refused_exactly_when_a_fault_is_named(
    field: msgspec.structs.FieldInfo, value: object
) -> None:
    try:
        msgspec.convert(value, field.type, strict=True)
        fits = True
    except msgspec.ValidationError:
        fits = False
    assert (not list(faults(value, field.type, field.name))) == fits


@pytest.mark.parametrize(
    "text",
    [
        "share: &x 0.5\n",
        "max_error_rate: &x 0.5\nmax_invalid_rate: *x\n",
        "feedback: {margin: &x 0.1}\n",
        "class_gates: [{margin: &x 0.1}, {margin: *x}]\n",
        "feedback: {margin: [&x 0.1]}\n",
    ],
)
def test_an_anchor_is_told_once(text: str) -> None:
    (told,) = mistakes(text)
    assert told.endswith("anchors and aliases are not read.")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidPolicy, match="not UTF-8"):
        read(b"\xff\xfe\xff", "p.yaml")


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        assert not read(text.encode("utf-8", "surrogatepass"), "p.yaml", "x").problems()
    except InvalidPolicy as error:
        assert error.mistakes


def test_the_schema_describes_every_field_and_is_what_the_reader_obeys() -> None:
    made = schema()
    fields = set(made["properties"]) - {"$schema"}
    assert fields == set(Policy.__struct_fields__)
    assert all(descriptions()[field] and allowed(field) for field in fields)
    assert made["additionalProperties"] is False
    assert made["properties"]["share"]["maximum"] == 1.0
    assert set(made["$defs"]["OnInsufficient"]["enum"]) == {"hold", "promote", "rollback"}
    assert not set(re.findall(r"#/\$defs/(\w+)", json.dumps(made))) - set(made["$defs"])


def test_the_policy_in_the_documentation_is_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "policies.md"
    documents = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    careful, guarded = (read(text.encode(), str(page)) for text in documents)
    assert careful.steps == (0.05, 0.25, 0.5)
    assert [gate.loss for gate in guarded.class_gates] == [Loss.PROVEN, Loss.POSSIBLE]
    assert guarded.feedback is not None and guarded.feedback.required


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "models", clock=now, new_id=new_id)


def test_a_name_means_the_newest_edition_and_every_edition_stays(store: Store) -> None:
    put(store, "careful", MEANT, actor="alice via cli", reason="")
    second = Policy(name="careful", share=0.1)
    put(store, "careful", second, actor="bob via ui", reason="too slow")
    assert named(store, "careful", DEFAULT) == second
    assert [(one.edition, one.actor, one.reason) for one in editions(store, "careful")] == [
        (1, "alice via cli", "by hand"),
        (2, "bob via ui", "too slow"),
    ]
    assert [one.name for one in policies(store, DEFAULT)] == ["default", "literal", "careful"]
    found = look_up(store, "careful", DEFAULT)
    assert (found.edition, found.built_in) == (2, False)
    with pytest.raises(NotFound, match="no policy 'fast'") as missing:
        named(store, "fast", DEFAULT)
    assert "default, literal, careful" in missing.value.remedy
    with pytest.raises(NotFound):
        editions(store, "../journal")


def test_the_built_in_ones_stay_and_settings_change_only_the_default(store: Store) -> None:
    mine = Policy(share=0.3)
    assert named(store, "default", mine) == mine
    assert named(store, "literal", mine) == LITERAL
    assert LITERAL.rule is Rule.COUNTING
    for name in ("default", "literal"):
        with pytest.raises(InvalidInput, match="built in"):
            put(store, name, Policy(name=name), actor="a", reason="r")
        assert editions(store, name) == []
    with pytest.raises(InvalidInput, match="is the policy 'careful', not 'fast'"):
        put(store, "fast", MEANT, actor="a", reason="r")
    with pytest.raises(InvalidInput, match="must rise"):
        put(store, "down", Policy(name="down", steps=(0.5, 0.1)), actor="a", reason="r")


def test_a_damaged_edition_is_named_and_not_used(store: Store) -> None:
    put(store, "careful", MEANT, actor="a", reason="r")
    file = store.root / "policies" / "careful" / "0000000001.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"careful"', '"other"'))
    with pytest.raises(Corrupt, match=r"0000000001\.json"):
        named(store, "careful", DEFAULT)
    file.write_text("{")
    with pytest.raises(Corrupt, match=r"0000000001\.json"):
        editions(store, "careful")


def test_a_rollout_that_starts_by_itself_gets_the_policy_that_is_named(world: World) -> None:
    put(world.store, "careful", MEANT, actor="a", reason="r")
    world.controllers = [world.controller(policy_name="careful")]
    world.publish(models.healthy(world.folder / "next", seed=1))
    world.tick()
    body = world.events[-1].body
    assert isinstance(body, RolloutStarted)
    assert body.policy == MEANT
    world.verify()
    assert world.rollout.share == 0.05


def test_a_policy_that_nobody_set_starts_nothing_and_says_so(world: World) -> None:
    world.controllers = [world.controller(policy_name="careful")]
    world.publish(models.healthy(world.folder / "next", seed=1))
    (tick,) = world.tick()
    assert world.state.rollout is None
    assert "There is no policy 'careful'" in tick.words
    put(world.store, "careful", MEANT, actor="a", reason="r")
    world.tick()
    assert world.rollout.policy == MEANT
