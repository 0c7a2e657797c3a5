"""The transition table as a picture, so that the documentation cannot differ from the code."""

from serinus.rollout.table import TERMINAL, TRANSITIONS, Phase, kind_name


def mermaid() -> str:
    """The life of a rollout as a Mermaid state diagram, without the events that leave the phase as it is."""
    lines = ["stateDiagram-v2"]
    for (phase, kind), following in TRANSITIONS.items():
        if following is not phase:
            lines.append(f"    {_name(phase)} --> {_name(following)}: {kind_name(kind)}")
    lines.extend(f"    {phase} --> [*]" for phase in sorted(TERMINAL))
    return "\n".join(lines) + "\n"


def _name(phase: Phase) -> str:
    return "[*]" if phase is None else phase.value
