"""The two ways an edgekd command ends badly, shared by all three wings.

They live in the lowest wing because everything above may import from it. The command line turns
them into exit codes; nothing else should catch them.
"""


class InputError(ValueError):
    """What the user gave cannot be used: exit 2.

    The message is one line: what was wrong, where, and what to do next.
    """


class GateError(RuntimeError):
    """The work was done and a quality gate (parity, regression) failed: exit 1."""
