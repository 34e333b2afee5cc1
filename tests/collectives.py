"""What devices say to each other in a compiled program."""

import re

COLLECTIVES = re.compile(
    r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-(permute|broadcast)"
)


def assert_no_word_between_devices(*programs):
    """No collective in the HLO of `jaxface.runtime.iteration.Program`s, each of which has run."""
    for program in programs:
        assert program.executables
        for compiled in program.executables:
            assert not COLLECTIVES.search(compiled.as_text())
