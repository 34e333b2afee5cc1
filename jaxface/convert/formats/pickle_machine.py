"""Read a pickle as data: an interpreter of its opcodes that never calls, imports or executes.

Python's ``pickle`` builds objects by calling whatever the file names, so a downloaded checkpoint
can run any program.  This machine walks the same opcodes (protocols 0 to 5, as parsed by the
standard library's ``pickletools``) with a stack and a memo of its own.  A name such as
``collections.OrderedDict`` is in the caller's table, which gives a pure function that turns the
call's arguments into plain data. A name of Python's own, ``os.system`` say, is refused the moment
it is mentioned; classes of other packages become inert :class:`Foreign` records.

What a pickle may contain, and what comes out:

=============================  ==================================================================
numbers, strings, bytes, None  themselves (Python 2 strings are decoded as latin-1)
list, tuple, dict, set         themselves
a name of the table            :class:`Name`
a call of a name               the table's function of the arguments; a :class:`Record` if None
the state of an object         given to the object's ``set_state``; a dict's is dropped (PyTorch
                               hangs version numbers on its state dictionaries)
a persistent id                the caller's ``persistent`` function of it
=============================  ==================================================================
"""

import pickletools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from jaxface.convert.formats.budget import ITEM, size_of, spend
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal

# A table's value: the rebuilding function, or None for a class whose instances become Records.
Table = Mapping[str, Callable[..., Any] | None]

# The names behind which Python's own modules hide: shown to the user under their public name.
PUBLIC_MODULE = {"posix": "os", "nt": "os", "__builtin__": "builtins", "copy_reg": "copyreg"}

# Opcodes whose decoded argument is the value to push.
LITERALS = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "FLOAT",
        "BINFLOAT",
    }
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLE_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Harmless classes of Python's own that options and old checkpoints hold.
INERT = frozenset(
    f"{module}.{name}"
    for module, names in {
        "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath"),
        "collections": ("Counter", "defaultdict", "deque"),
        "datetime": ("date", "datetime", "timedelta", "timezone"),
        "decimal": ("Decimal",),
        "fractions": ("Fraction",),
        "types": ("SimpleNamespace",),
        "uuid": ("UUID",),
        "builtins": ("list", "dict", "tuple", "int", "float", "str", "bool", "complex", "object"),
    }.items()
    for name in names
) | {"pathlib.WindowsPath", "copyreg._reconstructor"}
# What a dictionary's keys may be, and flat tuples of them.
KEYS = frozenset({str, int, bytes, float, bool, type(None)})
LONGEST_KEY = 16
# Python's hashes of integers repeat from here on, and those of tuples can be made to, which text's
# cannot: a dictionary of keys of one hash takes time by the square of their number.
LARGEST_KEY = 2**61 - 2
MOST_TUPLES = 2048
# Opcodes that reach outside the file: the extension registry and out-of-band buffers.
OUTSIDE = frozenset({"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"})


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that the file mentions, as text."""

    path: str


@dataclass(eq=False, repr=False)
class Record:
    """An instance of a class, as data: what it was made from and its attributes."""

    path: str
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Take the attributes from an instance's pickled ``__dict__``."""
        if not isinstance(state, dict):
            raise Refusal(
                f"the state of a {self.path} is a {type(state).__name__}, expected a dict"
            )
        self.state = state


class Foreign(Record):
    """What another package's class made: what it was called with and its state, all inert.

    A file may hold such things in parts that nobody needs (options with a path, another network).
    Where a network is to come of one, it is refused as no tensor.
    """

    def set_state(self, state: Any) -> None:
        """Keep the state, whatever it is."""
        self.state = state


def read_pickle(
    stream: BinaryIO, table: Table, *, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle from the stream's position and leave the position after it.

    Args:
        stream: binary, positioned at the pickle's first byte.
        table: dotted name to rebuilding function; every name in the file must be here.
        persistent: what to make of a persistent id; a file with one is refused without it.

    Raises:
        Refusal: for a name outside the table, an opcode that reaches outside the file, a
            truncated file and anything that is not a pickle.
    """
    machine = _Machine(table, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            spend(ITEM)
            machine.step(opcode.name, argument)
        return machine.result()
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise Refusal(f"truncated or malformed pickle ({one_line(error)})") from error


class _Machine:
    def __init__(self, table: Table, persistent: Callable[[Any], Any] | None):
        self.table = table
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.tuple_keys = 0

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in LITERALS:
            stack.append(argument)
        elif opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode])
        elif opcode in TUPLE_SIZES:
            stack.append(tuple(self._pop_many(TUPLE_SIZES[opcode])))
        elif opcode in OUTSIDE:
            raise Refusal(f"the pickle reaches outside the file (opcode {opcode})")
        else:
            handler = getattr(self, f"_{opcode.lower()}", None)
            if handler is None:
                raise Refusal(f"pickle opcode {opcode} is not one that a checkpoint needs")
            handler(argument)

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def _pop_many(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("stack underflow")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def _unmark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    def _key(self, value: Any) -> Any:
        self.tuple_keys += type(value) is tuple
        _check_tuples(self.tuple_keys)
        return key(value)

    def _pairs(self, values: list[Any]) -> dict[Any, Any]:
        return dict(zip(map(self._key, values[::2]), values[1::2], strict=True))

    # Framing and bookkeeping

    def _proto(self, version: int) -> None:
        if version > 5:
            raise Refusal(f"pickle protocol {version} is not known, expected at most 5")

    def _frame(self, _: Any) -> None:
        pass

    def _stop(self, _: Any) -> None:
        if self.marked:
            raise IndexError("mark without an end")

    def _mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._unmark()

    def _pop_mark(self, _: Any) -> None:
        self._unmark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    # Containers

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_set(self, _: Any) -> None:
        self.stack.append(set())

    def _list(self, _: Any) -> None:
        values = self._unmark()
        self.stack.append(values)

    def _tuple(self, _: Any) -> None:
        values = self._unmark()
        self.stack.append(tuple(values))

    def _frozenset(self, _: Any) -> None:
        values = self._unmark()
        self.stack.append(frozenset(map(self._key, values)))

    def _dict(self, _: Any) -> None:
        values = self._unmark()
        self.stack.append(self._pairs(values))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        if not isinstance(self.stack[-1], Foreign):  # a list of another package's: not needed
            _expect(self.stack[-1], list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._unmark()
        if not isinstance(self.stack[-1], Foreign):
            _expect(self.stack[-1], list).extend(values)

    def _setitem(self, _: Any) -> None:
        name, value = self._pop_many(2)
        if not isinstance(self.stack[-1], Foreign):
            _expect(self.stack[-1], dict)[self._key(name)] = value

    def _setitems(self, _: Any) -> None:
        values = self._unmark()
        if not isinstance(self.stack[-1], Foreign):
            _expect(self.stack[-1], dict).update(self._pairs(values))

    def _additems(self, _: Any) -> None:
        values = self._unmark()
        _expect(self.stack[-1], set).update(map(self._key, values))

    # Names, calls and states

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._name(module, name))

    def _stack_global(self, _: Any) -> None:
        module, name = self._pop_many(2)
        self.stack.append(self._name(_expect(module, str), _expect(name, str)))

    def _name(self, module: str, name: str) -> Name:
        path = f"{PUBLIC_MODULE.get(module, module)}.{name}"
        if path not in self.table and not _is_inert(path):
            raise Refusal(
                f"the file asks to run {one_line(path)}, which no supported checkpoint needs; "
                "nothing was run"
            )
        return Name(path)

    def _reduce(self, _: Any) -> None:
        name, arguments = self._pop_many(2)
        self._call(name, arguments)

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        name, arguments, keywords = self._pop_many(3)
        if keywords:
            raise Refusal(f"a call with keywords {shown(keywords)} is not one a checkpoint needs")
        self._call(name, arguments)

    def _inst(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        arguments = self._unmark()
        self._call(self._name(module, name), tuple(arguments))

    def _obj(self, _: Any) -> None:
        name, *arguments = self._unmark()
        self._call(name, tuple(arguments))

    def _call(self, name: Any, arguments: Any) -> None:
        path = _expect(name, Name).path
        arguments = _expect(arguments, tuple)
        spend(sum(map(size_of, arguments)))  # a call may copy what it is given
        if path not in self.table:
            self.stack.append(Foreign(path, arguments))
            return
        rebuild = self.table[path]
        self.stack.append(Record(path, arguments) if rebuild is None else rebuild(*arguments))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, dict):
            return
        set_state = getattr(target, "set_state", None)
        if set_state is None:
            raise TypeError(f"a {type(target).__name__} takes no state")
        set_state(state)

    def _binpersid(self, _: Any) -> None:
        identifier = self.stack.pop()
        if self.persistent is None:
            raise Refusal("the pickle refers to data outside itself (a persistent id)")
        self.stack.append(self.persistent(identifier))

    def _persid(self, _: Any) -> None:
        raise Refusal("the pickle refers to data outside itself (a persistent id)")


def _is_inert(path: str) -> bool:
    """Whether a name outside the table may stand in a file: nothing is ever made of it.

    Python's own modules hold what hostile files ask for, and are refused loudly but for a few
    containers; so are chumpy's expressions, which stand where arrays are needed. Classes of other
    packages are just not known here.
    """
    parts = path.split(".")
    known = parts[0] in {*sys.stdlib_module_names, "builtins", "chumpy"}
    return path in INERT or (not known and all(map(str.isidentifier, parts)))


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


def keys(values: Iterable[Any]) -> list[Any]:
    """As `key`, of all keys of a dictionary that a call makes.

    Raises:
        TypeError: one is none.
        Refusal: too many are tuples.
    """
    made = [key(value) for value in values]
    _check_tuples(sum(type(value) is tuple for value in made))
    return made


def _check_tuples(count: int) -> None:
    if count > MOST_TUPLES:
        raise Refusal(f"more than {MOST_TUPLES} tuples as keys")


def key(value: Any) -> Any:
    """What may be a key of a dictionary, or an item of a set: nothing whose hash takes long.

    Raises:
        TypeError: a nested tuple (whose hash can take for ever, or more stack than there is), an
            integer beyond `LARGEST_KEY`, or anything else that is no name or number.
    """
    flat = value if type(value) is tuple and len(value) <= LONGEST_KEY else (value,)
    for part in flat:
        if type(part) not in KEYS or (type(part) is int and abs(part) > LARGEST_KEY):
            raise TypeError(f"{shown(value)} as a key")
    return value
