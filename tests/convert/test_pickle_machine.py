"""The pickle interpreter: data survives, names outside the table are refused, nothing runs."""

import builtins
import contextlib
import io
import os
import pickle

import numpy as np
import pytest
from pickle_writer import Call, Global, Persistent, dumps

from jaxface.convert.formats.pickle_machine import Name, Record, read_pickle
from jaxface.convert.refusal import Refusal

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = {
    "numbers": [0, 1, 255, 65536, -1, 2**31, -(2**70), 1.5, float("inf"), True, False, None],
    "text": ["", "a", "ü" * 300, "line\nbreak"],
    "nested": {"tuple": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 3: [[], {}]},
}
TABLE = {"package.Kind": None, "package.double": lambda x: 2 * x}


def read(data, table=TABLE, **options):
    return read_pickle(io.BytesIO(data), table, **options)


class Runs:
    """Pickles as a call of a function, as malicious files do."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_survives_every_protocol(protocol):
    shared = ["shared"]
    value = {**PLAIN, "shared": [shared, shared]}
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert found["shared"][0] is found["shared"][1]


@pytest.mark.parametrize("protocol", [4, 5])
def test_bytes_and_sets_survive(protocol):
    value = [b"", b"\x00\xff" * 200, {1, 2}, frozenset({3})]
    assert read(pickle.dumps(value, protocol)) == value


def test_a_list_that_contains_itself_is_read():
    value = []
    value.append(value)
    found = read(pickle.dumps(value))
    assert found[0] is found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "os.system"),
        (builtins.eval, ("open({!r}, 'w')",), "builtins.eval"),
        (builtins.exec, ("open({!r}, 'w')",), "builtins.exec"),
        (os.remove, ("{}",), "os.remove"),
    ],
)
def test_a_call_of_a_function_is_refused_by_its_name(function, arguments, name, protocol, tmp_path):
    trace = tmp_path / "trace"
    arguments = tuple(a.format(str(trace)) if isinstance(a, str) else a for a in arguments)
    data = pickle.dumps({"weights": Runs(function, *arguments)}, protocol)
    with pytest.raises(Refusal, match=f"asks to run {name},.*nothing was run"):
        read(data)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # protocol 0
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02cos\nsystem\n.",  # a mention is enough
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",  # the module's private name
    ],
)
def test_every_way_to_name_a_function_is_refused(data):
    with pytest.raises(Refusal, match=r"os\.system"):
        read(data)


def test_a_name_cannot_smuggle_control_characters_into_the_message():
    data = dumps(Global("os\x1b[2J", "system"))
    with pytest.raises(Refusal) as refusal:
        read(data)
    assert str(refusal.value).isprintable()


def test_names_of_the_table_become_data():
    found = read(dumps([Global("package", "Kind"), Call(Global("package", "double"), (21,))]))
    assert isinstance(found[0], Name)
    assert found[0].path == "package.Kind"
    assert found[1] == 42
    record = read(dumps(Call(Global("package", "Kind"), (1,), {"size": 3})))
    assert isinstance(record, Record)
    assert (record.args, record.state) == ((1,), {"size": 3})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (dumps(Persistent(("storage", "0"))), "persistent id"),
        (b"Pkey\n.", "persistent id"),
        (b"\x80\x09N.", "protocol 9"),
        (dumps(Call(Global("package", "double"), (1, 2))), "malformed"),
        (dumps(Call(Global("package", "Kind"), (), [1])), "state"),
        (b"\x80\x02N}b.", "malformed"),  # a state for None
        (b"\x80\x02K\x01)R.", "malformed"),  # a call of a number
        (b"\x80\x02]]}s.", "malformed"),  # a list as a key
        (b"\x80\x02(.", "malformed"),  # a mark left open
        (b"\x80\x02NN.", "malformed"),  # two results
        (b"\x80\x02h\x05.", "malformed"),  # an unknown memo entry
        (b"", "malformed"),
    ],
)
def test_what_is_no_plain_data_is_refused(data, reason):
    with pytest.raises(Refusal, match=reason):
        read(data)


def test_every_truncation_is_refused():
    data = pickle.dumps(PLAIN, 4)
    for length in range(len(data)):
        with pytest.raises(Refusal):
            read(data[:length])


def test_damaged_bytes_give_data_or_a_refusal_and_nothing_else():
    random = np.random.RandomState(0)
    data = bytearray(pickle.dumps(PLAIN, 4))
    for _ in range(2000):
        damaged = bytearray(data)
        for position in random.randint(len(data), size=3):
            damaged[position] = random.randint(256)
        with contextlib.suppress(Refusal):
            read(bytes(damaged))
