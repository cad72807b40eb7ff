"""What a pickle says, without running it: values and NumPy arrays as data, everything else refused by name.

Python's own unpickler calls whatever a file names. This one walks the file's instructions (``pickletools.genops`` lists
them and runs nothing) with a stack of its own, and knows five names, each of which becomes data here, never a call:
NumPy's arrays, scalars and types, and the text in which old protocols keep bytes.

References
----------
PEP 3154 and PEP 574 (protocols 4 and 5); CPython's ``pickletools`` for each instruction.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_OPCODES = 5_000_000
MAX_STACK = 100_000
MAX_DEPTH = 100

_MOST_SIDE = 2**31
"""Sides of an array are shorter: longer ones cannot even be written out."""

_TYPE = re.compile(r"[<>=|]?(?:[?biufcSUO]\d{0,6})")
_MARK = object()


class PickleError(ValueError):
    """A pickle that is damaged, or says more than data; the text says what."""


@dataclass(eq=False)
class Kind:
    """A NumPy type: its code (``u2``), and which byte comes first."""

    code: str
    order: str = "="


@dataclass(eq=False)
class Array:
    """A NumPy array as the file describes it; :meth:`decode` makes one of it.

    `content` holds bytes, or the list of objects of an array of objects.
    """

    kind: Kind | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    content: Any = None
    axes: tuple[int, ...] | None = None

    def decode(self) -> NDArray[Any]:
        """The array of numbers.

        Raises
        ------
        PickleError
            It holds something else, or fewer or more bytes than its shape takes.
        """
        if self.kind is None or not isinstance(self.content, bytes | bytearray) or self.kind.code[0] not in "?biuf":
            raise PickleError("has an array that holds no numbers")
        try:
            dtype = np.dtype(f"{self.kind.order if self.kind.order in '<>' else '='}{self.kind.code}")
        except TypeError as error:
            raise PickleError(f"has an array of the type {self.kind.code!r}") from error
        size = dtype.itemsize
        for side in self.shape:  # Python's integers: no product overflows
            size *= side
        if size != len(self.content):
            raise PickleError(f"has an array of {len(self.content)} bytes, its shape takes {size}")
        array = np.frombuffer(self.content, dtype)
        if self.axes is not None:
            if sorted(self.axes) != list(range(len(self.shape))):
                raise PickleError("has an array with impossible axes")
            return array.reshape(self.shape).transpose(self.axes)
        return array.reshape(self.shape, order="F" if self.fortran else "C")


@dataclass(frozen=True)
class _Name:
    """A name that a pickle may use."""

    name: str


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_NAMES = {
    **{(module, "_reconstruct"): "reconstruct" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    **{(module, "_frombuffer"): "frombuffer" for module in _NUMERIC},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


def read_pickle(stream: BinaryIO, size: int) -> Any:
    """The value that a pickle stands for, arrays as :class:`Array`, NumPy's scalars as bytes.

    Parameters
    ----------
    stream
        At its start. Its ``read(n)`` must not set `n` bytes aside before it knows that there are as many.
    size
        Of the stream in bytes: text that becomes bytes may take twice as many.

    Raises
    ------
    PickleError
        The pickle is damaged or too large, or names something that is no data.
    """
    machine = _Machine(max(2 * size, 2**16))
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if number >= MAX_OPCODES:
                raise PickleError(f"has more than {MAX_OPCODES:,} instructions")
            if opcode.name == "STOP":
                return machine.result()
            machine.run(opcode.name, argument)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, UnicodeError) as error:
        raise PickleError(f"is damaged ({_short(error)})") from None
    raise PickleError("is damaged (it ends too early)")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"


class _Machine:
    """The stack of a pickle, its memory, and how deep each value is nested."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._stack: list[Any] = []
        self._depths: list[int] = []
        self._memo: dict[int, tuple[Any, int]] = {}

    def run(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _WITH_ARGUMENT:
            self._push(argument)
        elif name in _METHODS:
            _METHODS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(f"has the instruction {name}, which data does not need")

    def result(self) -> Any:
        """The one value that is left."""
        if len(self._stack) != 1:
            raise PickleError("is damaged (it leaves several values)")
        return self._pop()

    def _push(self, value: Any, depth: int = 0) -> None:
        if len(self._stack) >= MAX_STACK:
            raise PickleError(f"has more than {MAX_STACK:,} values waiting")
        if depth > MAX_DEPTH:
            raise PickleError(f"is nested more than {MAX_DEPTH} deep")
        self._stack.append(value)
        self._depths.append(depth)

    def _pop(self) -> Any:
        self._depths.pop()
        value = self._stack.pop()
        if value is _MARK:
            raise PickleError("is damaged (a mark where a value should be)")
        return value

    def _take(self, count: int | None) -> tuple[list[Any], int]:
        """The last values, or those behind the last mark, which goes; and how deep the deepest is."""
        start = len(self._stack) - count if count is not None else self._mark()
        if start < 0:
            raise PickleError("is damaged (a value is missing)")
        values, depth = self._stack[start:], max(self._depths[start:], default=-1)
        if any(value is _MARK for value in values):
            raise PickleError("is damaged (a mark where a value should be)")
        cut = start if count is not None else start - 1
        del self._stack[cut:], self._depths[cut:]
        return values, depth

    def _mark(self) -> int:
        """Place behind the last mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                return place + 1
        raise PickleError("is damaged (a mark is missing)")

    def _deepen(self, depth: int) -> None:
        """The value on top holds something of this depth from now on."""
        self._depths[-1] = max(self._depths[-1], depth + 1)
        if self._depths[-1] > MAX_DEPTH:
            raise PickleError(f"is nested more than {MAX_DEPTH} deep")

    def mark(self, _: Any) -> None:
        """MARK."""
        self._push(_MARK)

    def new_list(self, _: Any) -> None:
        """EMPTY_LIST."""
        self._push([])

    def new_dict(self, _: Any) -> None:
        """EMPTY_DICT."""
        self._push({})

    def make_tuple(self, count: int | None) -> None:
        """TUPLE1, TUPLE2, TUPLE3; TUPLE takes all behind the mark."""
        values, depth = self._take(count)
        self._push(tuple(values), depth + 1)

    def append(self, count: int | None) -> None:
        """APPEND, APPENDS."""
        values, depth = self._take(count)
        if not isinstance(self._stack[-1], list):
            raise PickleError("appends to something that is no list")
        self._deepen(depth)
        self._stack[-1].extend(values)

    def set_items(self, count: int | None) -> None:
        """SETITEM, SETITEMS."""
        values, depth = self._take(count)
        if not isinstance(self._stack[-1], dict) or len(values) % 2:
            raise PickleError("sets items of something that is no dictionary")
        if not all(isinstance(key, str | int | float | bytes | None) for key in values[::2]):
            raise PickleError("has a dictionary whose keys are no plain values")
        self._deepen(depth)
        self._stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def put(self, index: int | None) -> None:
        """BINPUT, LONG_BINPUT; MEMOIZE takes the next number."""
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleError("is damaged (nothing to remember)")
        self._memo[len(self._memo) if index is None else index] = (self._stack[-1], self._depths[-1])

    def get(self, index: int) -> None:
        """BINGET, LONG_BINGET."""
        self._push(*self._memo[index])

    def name(self, argument: str | None) -> None:
        """GLOBAL has the names in the file, STACK_GLOBAL takes them from the stack."""
        parts = argument.split(" ", 1) if argument is not None else self._take(2)[0]
        if not all(isinstance(part, str) for part in parts):
            raise PickleError("asks for something by what is no name")
        known = _NAMES.get((parts[0], parts[-1]))
        if known is None:
            raise PickleError(f"asks for {_short('.'.join(parts))!r}, which is no data: it is not opened")
        self._push(_Name(known))

    def reduce(self, _: Any) -> None:
        """REDUCE: where Python would call, data is made."""
        arguments, called = self._pop(), self._pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise PickleError("calls something that is no data")
        makers: dict[str, Callable[[tuple[Any, ...]], Any]] = {
            "reconstruct": lambda _: Array(),
            "dtype": _kind,
            "scalar": _scalar,
            "frombuffer": _frombuffer,
            "encode": self._encoded,
        }
        if called.name not in makers:
            raise PickleError(f"calls numpy.{called.name}, which is no data")
        self._push(makers[called.name](arguments))

    def build(self, _: Any) -> None:
        """BUILD: the state of an array or a type."""
        state, depth = self._take(1)
        target = self._stack[-1]
        if isinstance(target, Kind):
            order = state[0][1]
            if not isinstance(order, str) or len(order) > 1:
                raise PickleError("is damaged (a type without an order of bytes)")
            target.order = order
        elif isinstance(target, Array):
            _, shape, kind, fortran, content = state[0]
            if not isinstance(kind, Kind) or not isinstance(content, bytes | bytearray | list):
                raise PickleError("is damaged (an array without a type or content)")
            target.kind, target.shape, target.fortran, target.content = kind, _shape(shape), bool(fortran), content
            self._deepen(depth)
        else:
            raise PickleError("gives a state to something that is no array")

    def _encoded(self, arguments: tuple[Any, ...]) -> bytes:
        text, coding = arguments
        if not isinstance(text, str) or coding != "latin1":
            raise PickleError("encodes something that is no text")
        self._budget -= len(text)
        if self._budget < 0:
            raise PickleError("makes more bytes than it has")
        return text.encode("latin1")


def _kind(arguments: tuple[Any, ...]) -> Kind:
    code = arguments[0]
    if not isinstance(code, str):
        raise PickleError("has an array of a type without a name")
    if not _TYPE.fullmatch(code):
        raise PickleError(f"has an array of the type {_short(code)!r}")
    return Kind(code.lstrip("<>=|"), code[0] if code[0] in "<>" else "=")


def _shape(shape: Any) -> tuple[int, ...]:
    possible = isinstance(shape, tuple) and len(shape) <= 32
    if not possible or not all(type(side) is int and 0 <= side < _MOST_SIDE for side in shape):
        raise PickleError("has an array of an impossible shape")
    return tuple(shape)


def _scalar(arguments: tuple[Any, ...]) -> Any:
    return arguments[1] if isinstance(arguments[1], bytes) else None


def _frombuffer(arguments: tuple[Any, ...]) -> Array:
    content, kind, shape, order, *rest = arguments
    axes = _shape(rest[0]) if rest and rest[0] is not None and order == "K" else None
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, Kind):
        raise PickleError("is damaged (an array without a type or content)")
    return Array(kind, _shape(shape), order == "F", content, axes)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

_WITH_ARGUMENT = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)

_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "EMPTY_LIST": _Machine.new_list,
    "EMPTY_DICT": _Machine.new_dict,
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "TUPLE": lambda machine, _: machine.make_tuple(None),
    "APPEND": lambda machine, _: machine.append(1),
    "APPENDS": lambda machine, _: machine.append(None),
    "SETITEM": lambda machine, _: machine.set_items(2),
    "SETITEMS": lambda machine, _: machine.set_items(None),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda machine, _: machine.put(None),
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(None),
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
