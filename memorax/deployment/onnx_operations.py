"""What each operation of JAX is in ONNX."""

from __future__ import annotations

import dataclasses
import functools
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real, Tensor

END = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True)
class Complex:
    """A complex array, of which at least one part is known only when the graph runs."""

    real: Real
    imag: Real


Operation = Callable[..., Any]
"""`(graph, parameters, output, *inputs)`: the parameters of JAX's operation, and the shape and type of its output."""

REAL: dict[str, Operation] = {}
"""Operations on real arrays."""

COMPLEX: dict[str, Operation] = {}
"""Operations on complex arrays that are not those of their parts."""

BY_PARTS = (
    "add",
    "sub",
    "neg",
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "dynamic_slice",
    "gather",
    "pad",
    "reduce_sum",
    "reshape",
    "rev",
    "select_n",
    "slice",
    "split",
    "squeeze",
    "stack",
    "stop_gradient",
    "transpose",
    "unstack",
)
"""Operations on complex arrays that are those of their real and imaginary parts."""


def _of(*names: str, table: dict[str, Operation] = REAL) -> Callable[[Operation], Operation]:
    def register(operation: Operation) -> Operation:
        table.update(dict.fromkeys(names, operation))
        return operation

    return register


def _cast(graph: Graph, value: Real, dtype: Any) -> Real:
    import onnx

    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    return graph.op("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _number(value: float, like: Any) -> np.ndarray:
    return np.asarray(value, like.dtype)


# Element by element ---------------------------------------------------------------------------------------------------

ALIKE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "is_nan": "IsNaN",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
    "xor": "Xor",
}
"""Operations that have a counterpart."""


LOGICAL = ("And", "Or", "Xor", "Not")


def _alike(kind: str, graph: Graph, parameters: Any, output: Any, *inputs: Real) -> Real:
    if output.dtype == np.uint32 and kind in ("Add", "Sub", "Mul"):
        return _wrapping(kind, graph, parameters, output, *inputs)
    return graph.op(f"Bitwise{kind}" if kind in LOGICAL and output.dtype != bool else kind, *inputs)


for _name, _kind in ALIKE.items():
    REAL[_name] = functools.partial(_alike, _kind)


def _wrapping(kind: str, graph: Graph, parameters: Any, output: Any, *inputs: Real) -> Real:
    """Arithmetic of 32 bits without a sign, which ONNX lacks: the lower half of that of 64 bits."""
    wide = graph.op(kind, *(_cast(graph, value, np.int64) for value in inputs))
    return _cast(graph, graph.op("BitwiseAnd", wide, np.asarray(2**32 - 1, np.int64)), output.dtype)


@_of("shift_right_logical", "shift_left")
def _shift(graph: Graph, parameters: Any, output: Any, value: Real, distance: Real) -> Real:
    if not np.issubdtype(output.dtype, np.unsignedinteger):
        raise NotImplementedError(f"{parameters['name']} of numbers with a sign")
    return graph.op("BitShift", value, distance, direction="LEFT" if parameters["name"] == "shift_left" else "RIGHT")


@_of("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision", "device_put")
def _same(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return value


@_of("ne")
def _not_equal(graph: Graph, parameters: Any, output: Any, one: Real, other: Real) -> Real:
    return graph.op("Not", graph.op("Equal", one, other))


@_of("square")
def _square(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Mul", value, value)


@_of("rsqrt")
def _rsqrt(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Reciprocal", graph.op("Sqrt", value))


@_of("exp2")
def _exp2(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Pow", _number(2.0, output), value)


@_of("expm1")
def _expm1(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    # Exact also near zero, where exp(x) - 1 cancels: tanh(x / 2) (exp(x) + 1). It overflows no earlier than exp.
    half = graph.op("Tanh", graph.op("Mul", value, _number(0.5, output)))
    return graph.op("Mul", half, graph.op("Add", graph.op("Exp", value), _number(1.0, output)))


@_of("log1p")
def _log1p(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    # Exact also near zero (Kahan): log(u) x / (u - 1) with u = 1 + x rounded, and x where u is 1.
    one = _number(1.0, output)
    rounded = graph.op("Add", value, one)
    same = graph.op("Equal", rounded, one)
    rest = graph.op("Where", same, one, graph.op("Sub", rounded, one))
    ratio = graph.op("Div", graph.op("Mul", graph.op("Log", rounded), value), rest)
    finite = graph.op("Where", graph.op("IsInf", rounded), rounded, ratio)
    return graph.op("Where", same, value, finite)


@_of("is_finite")
def _is_finite(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Not", graph.op("Or", graph.op("IsNaN", value), graph.op("IsInf", value)))


@_of("integer_pow")
def _integer_pow(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    power = parameters["y"]
    result = functools.reduce(lambda one, other: graph.op("Mul", one, other), [value] * abs(power))
    return result if power > 0 else graph.op("Reciprocal", result)


@_of("rem")
def _rem(graph: Graph, parameters: Any, output: Any, one: Real, other: Real) -> Real:
    if output.dtype == np.uint32:
        one, other = (_cast(graph, value, np.int64) for value in (one, other))
        return _cast(graph, graph.op("Mod", one, other, fmod=1), output.dtype)
    return graph.op("Mod", one, other, fmod=1)  # with the sign of the dividend


@_of("round")
def _round(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    if int(parameters["rounding_method"]) == 1:
        return graph.op("Round", value)  # halves to even
    away = graph.op("Floor", graph.op("Add", graph.op("Abs", value), _number(0.5, output)))
    return graph.op("Mul", graph.op("Sign", value), away)


@_of("clamp")
def _clamp(graph: Graph, parameters: Any, output: Any, low: Real, value: Real, high: Real) -> Real:
    return graph.op("Min", graph.op("Max", value, low), high)


@_of("select_n")
def _select(graph: Graph, parameters: Any, output: Any, which: Real, *cases: Real) -> Real:
    if parameters["types"][0] == np.dtype(bool):
        return graph.op("Where", which, cases[1], cases[0])
    chosen = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = graph.op("Where", graph.op("Equal", which, np.asarray(number, np.int32)), case, chosen)
    return chosen


@_of("convert_element_type")
def _convert(graph: Graph, parameters: Any, output: Any, value: Real) -> Any:
    if np.issubdtype(output.dtype, np.complexfloating):
        return Complex(_cast(graph, value, np.float32), np.zeros((), np.float32))
    return _cast(graph, value, output.dtype)


@_of("complex")
def _complex(graph: Graph, parameters: Any, output: Any, real: Real, imag: Real) -> Complex:
    return Complex(real, imag)


# Shapes ---------------------------------------------------------------------------------------------------------------


@_of("reshape", "squeeze", "expand_dims")
def _reshape(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    return graph.reshape(value, output.shape)


@_of("broadcast_in_dim")
def _broadcast(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    shape, kept = parameters["shapes"][0], parameters["broadcast_dimensions"]
    inserted = [axis for axis in range(len(output.shape)) if axis not in kept]
    if inserted:
        value = graph.op("Unsqueeze", value, np.asarray(inserted, np.int64))
    stretched = [size != output.shape[axis] for size, axis in zip(shape, kept, strict=True)]
    if any(stretched) or any(output.shape[axis] != 1 for axis in inserted):
        return graph.expand(value, output.shape)
    return value


@_of("transpose")
def _transpose(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Transpose", value, perm=list(parameters["permutation"]))


@_of("concatenate")
def _concatenate(graph: Graph, parameters: Any, output: Any, *values: Real) -> Real:
    return graph.op("Concat", *values, axis=parameters["dimension"]) if len(values) > 1 else values[0]


@_of("stack")
def _stack(graph: Graph, parameters: Any, output: Any, *values: Real) -> Real:
    axis = parameters["axis"]
    return graph.op("Concat", *(graph.op("Unsqueeze", x, np.asarray([axis], np.int64)) for x in values), axis=axis)


@_of("unstack")
def _unstack(graph: Graph, parameters: Any, output: Any, value: Real) -> list[Real]:
    axis = parameters["axis"]
    length = parameters["shapes"][0][axis]
    return [graph.op("Gather", value, np.asarray(index, np.int64), axis=axis) for index in range(length)]


@_of("split")
def _split(graph: Graph, parameters: Any, output: Any, value: Real) -> list[Real]:
    sizes = parameters["sizes"]
    if len(sizes) == 1:
        return [value]
    lengths = np.asarray(sizes, np.int64)
    return graph.op("Split", value, lengths, axis=parameters["axis"], num_outputs=len(sizes))


@_of("slice")
def _slice(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    shape = parameters["shapes"][0]
    strides = parameters["strides"] or [1] * len(shape)
    bounds = list(
        zip(range(len(shape)), parameters["start_indices"], parameters["limit_indices"], strides, strict=True)
    )
    cut = [x for x in bounds if not (x[1] == 0 and x[2] == shape[x[0]] and x[3] == 1)]
    if not cut:
        return value
    axes, starts, ends, steps = zip(*cut, strict=True)
    whole = [END if end == shape[axis] else end for axis, end in zip(axes, ends, strict=True)]
    return graph.op("Slice", value, *(np.asarray(x, np.int64) for x in (starts, whole, axes, steps)))


@_of("dynamic_slice")
def _dynamic_slice(graph: Graph, parameters: Any, output: Any, value: Real, *starts: Real) -> Real:
    first = np.asarray([0], np.int64)
    start = graph.op("Concat", *(graph.op("Unsqueeze", _cast(graph, x, np.int64), first) for x in starts), axis=0)
    return _cut(graph, value, start, parameters["shapes"][0], output.shape, range(len(starts)))


def _cut(graph: Graph, value: Real, start: Real, shape: Any, sizes: Any, axes: Sequence[int]) -> Real:
    """A part of `value`, of a shape, with given sizes; `start` int64 names where it begins along `axes`."""
    length, size = (graph.shape([x[axis] for axis in axes]) for x in (shape, sizes))
    first = np.asarray([0], np.int64)
    start = graph.op("Max", graph.op("Min", start, graph.op("Sub", length, size)), first)
    return graph.op("Slice", value, start, graph.op("Add", start, size), np.asarray(axes, np.int64))


@_of("gather")
def _gather(graph: Graph, parameters: Any, output: Any, value: Real, indices: Real) -> Real:
    """One part of an array, or elements along one axis, as `value[:, indices]` and `jnp.take` ask for."""
    numbers, shape, sizes = parameters["dimension_numbers"], parameters["shapes"][0], parameters["slice_sizes"]
    index_axes = len(parameters["shapes"][1]) - 1
    if numbers.operand_batching_dims or parameters["mode"].name not in ("CLIP", "PROMISE_IN_BOUNDS"):
        raise NotImplementedError("gather by rows or out of bounds")
    index = _cast(graph, indices, np.int64)
    if not index_axes:
        return graph.reshape(_cut(graph, value, index, shape, sizes, numbers.start_index_map), output.shape)
    axis = numbers.start_index_map[0]
    whole = all(size == shape[i] or i == axis for i, size in enumerate(sizes))
    placed = [i for i in range(len(output.shape)) if not axis <= i < axis + index_axes]
    if numbers.start_index_map != numbers.collapsed_slice_dims or not whole or list(numbers.offset_dims) != placed:
        raise NotImplementedError("gather of several parts")
    index = graph.op("Squeeze", index, np.asarray([-1], np.int64))
    last = graph.op("Sub", graph.shape([shape[axis]]), np.asarray([1], np.int64))
    index = graph.op("Max", graph.op("Min", index, last), np.asarray([0], np.int64))
    return graph.op("Gather", value, index, axis=axis)


@_of("rev")
def _reverse(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    axes = list(parameters["dimensions"])
    bounds = ([-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes))
    return graph.op("Slice", value, *(np.asarray(x, np.int64) for x in bounds))


@_of("pad")
def _pad(graph: Graph, parameters: Any, output: Any, value: Real, filling: Real) -> Real:
    low, high, interior = zip(*parameters["padding_config"], strict=True)
    if any(interior):
        raise NotImplementedError("pad between elements")
    shape = parameters["shapes"][0]
    negative = np.minimum([low, high], 0)
    if negative.any():
        ends = [END if cut == 0 else size + cut for size, cut in zip(shape, negative[1].tolist(), strict=True)]
        bounds = ((-negative[0]).tolist(), ends, list(range(len(shape))), [1] * len(shape))
        value = graph.op("Slice", value, *(np.asarray(x, np.int64) for x in bounds))
    return graph.op("Pad", value, np.maximum([low, high], 0).reshape(-1).astype(np.int64), filling)


@_of("iota")
def _iota(graph: Graph, parameters: Any, output: Any, *_: Real) -> Real:
    axis = parameters["dimension"]
    length = graph.op("Squeeze", graph.shape([output.shape[axis]]))
    numbers = graph.op("Range", np.asarray(0, np.int64), length, np.asarray(1, np.int64))
    aligned = graph.reshape(
        _cast(graph, numbers, output.dtype), [n if i == axis else 1 for i, n in enumerate(output.shape)]
    )
    return graph.expand(aligned, output.shape)


@_of("dim_as_value")
def _size(graph: Graph, parameters: Any, output: Any) -> Real:
    return _cast(graph, graph.op("Squeeze", graph.shape([parameters["dim"]])), output.dtype)


# Sums, products, orders -----------------------------------------------------------------------------------------------

REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}


def _reduce(kind: str, graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    if not parameters["axes"]:
        return value
    return graph.op(kind, value, np.asarray(parameters["axes"], np.int64), keepdims=0)


for _name, _kind in REDUCTIONS.items():
    REAL[_name] = functools.partial(_reduce, _kind)


@_of("reduce_and", "reduce_or")
def _reduce_logic(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    kind = "ReduceMin" if parameters["name"] == "reduce_and" else "ReduceMax"
    reduced = graph.op(kind, _cast(graph, value, np.int32), np.asarray(parameters["axes"], np.int64), keepdims=0)
    return _cast(graph, reduced, np.bool_)


@_of("argmax", "argmin")
def _arg(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[parameters["name"]]
    (axis,) = parameters["axes"]
    return _cast(graph, graph.op(kind, value, axis=axis, keepdims=0), output.dtype)


CUMULATIVE = {"cumsum": "Add", "cumprod": "Mul", "cummax": "Max", "cummin": "Min"}


@_of(*CUMULATIVE)
def _cumulative(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    axis, length = parameters["axis"], output.shape[parameters["axis"]]
    if length == 1:
        return value
    pieces = graph.op("Split", value, np.ones(length, np.int64), axis=axis, num_outputs=length)
    order = pieces[::-1] if parameters["reverse"] else pieces
    running = [order[0]]
    for piece in order[1:]:
        running.append(graph.op(CUMULATIVE[parameters["name"]], running[-1], piece))
    return graph.op("Concat", *(running[::-1] if parameters["reverse"] else running), axis=axis)


@_of("dot_general")
def _dot(graph: Graph, parameters: Any, output: Any, left: Real, right: Real) -> Real:
    (left_summed, right_summed), (left_batch, right_batch) = parameters["dimension_numbers"]
    left_rank, right_rank = (len(shape) for shape in parameters["shapes"])
    plain = left_summed == (left_rank - 1,) and right_summed == (0,) and right_rank == 2
    if plain and not left_batch:
        return graph.op("MatMul", left, right)
    letters = iter(string.ascii_lowercase)
    left_names, right_names = [next(letters) for _ in range(left_rank)], [next(letters) for _ in range(right_rank)]
    for one, other in zip((*left_summed, *left_batch), (*right_summed, *right_batch), strict=True):
        right_names[other] = left_names[one]
    batch = [left_names[axis] for axis in left_batch]
    free = [left_names[axis] for axis in range(left_rank) if axis not in (*left_summed, *left_batch)]
    free += [right_names[axis] for axis in range(right_rank) if axis not in (*right_summed, *right_batch)]
    equation = f"{''.join(left_names)},{''.join(right_names)}->{''.join(batch + free)}"
    return graph.op("Einsum", left, right, equation=equation)


# Complex numbers ------------------------------------------------------------------------------------------------------


def parts(value: Any) -> tuple[Real, Real]:
    """The real and the imaginary part of an array, which may be real."""
    if isinstance(value, Complex):
        return value.real, value.imag
    if isinstance(value, np.ndarray):
        return np.asarray(value.real), np.asarray(value.imag)
    return value, np.zeros((), np.float32)


def is_complex(value: Any) -> bool:
    """Whether an array is complex."""
    return isinstance(value, Complex) or (isinstance(value, np.ndarray) and np.iscomplexobj(value))


def _product(graph: Graph, multiply: Callable[[Real, Real], Real], one: Any, other: Any) -> Complex:
    (a, b), (c, d) = parts(one), parts(other)
    real = graph.op("Sub", multiply(a, c), multiply(b, d))
    return Complex(real, graph.op("Add", multiply(a, d), multiply(b, c)))


@_of("mul", table=COMPLEX)
def _complex_multiply(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    return _product(graph, lambda x, y: graph.op("Mul", x, y), one, other)


@_of("square", table=COMPLEX)
def _complex_square(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    return _complex_multiply(graph, parameters, output, value, value)


@_of("dot_general", table=COMPLEX)
def _complex_dot(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    return _product(graph, lambda x, y: _dot(graph, parameters, output, x, y), one, other)


@_of("div", table=COMPLEX)
def _complex_divide(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    c, d = parts(other)
    conjugate = Complex(c, graph.op("Neg", d))
    squared = graph.op("Add", graph.op("Mul", c, c), graph.op("Mul", d, d))
    product = _complex_multiply(graph, parameters, output, one, conjugate)
    return Complex(graph.op("Div", product.real, squared), graph.op("Div", product.imag, squared))


@_of("exp", table=COMPLEX)
def _complex_exp(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    real, imag = parts(value)
    size = graph.op("Exp", real)
    return Complex(graph.op("Mul", size, graph.op("Cos", imag)), graph.op("Mul", size, graph.op("Sin", imag)))


@_of("real", table=COMPLEX)
def _real(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    return parts(value)[0]


@_of("imag", table=COMPLEX)
def _imag(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    return parts(value)[1]


@_of("conj", table=COMPLEX)
def _conjugate(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    real, imag = parts(value)
    return Complex(real, graph.op("Neg", imag))


@_of("abs", table=COMPLEX)
def _complex_abs(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    real, imag = parts(value)
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", real, real), graph.op("Mul", imag, imag)))


@_of("convert_element_type", table=COMPLEX)
def _complex_convert(graph: Graph, parameters: Any, output: Any, value: Any) -> Any:
    return value if np.issubdtype(output.dtype, np.complexfloating) else _cast(graph, parts(value)[0], output.dtype)


@_of("eq", table=COMPLEX)
def _complex_equal(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Real:
    (a, b), (c, d) = parts(one), parts(other)
    return graph.op("And", graph.op("Equal", a, c), graph.op("Equal", b, d))


@_of("ne", table=COMPLEX)
def _complex_not_equal(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Real:
    return graph.op("Not", _complex_equal(graph, parameters, output, one, other))


@_of("is_finite", table=COMPLEX)
def _complex_is_finite(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    real, imag = (_is_finite(graph, parameters, output, part) for part in parts(value))
    return graph.op("And", real, imag)


def by_parts(operation: Operation, graph: Graph, parameters: Any, output: Any, name: str, inputs: Sequence[Any]) -> Any:
    """An operation on the real parts and on the imaginary parts; real inputs that select or index go to both."""
    selectors = {"select_n": [0], "dynamic_slice": range(1, len(inputs)), "gather": [1]}.get(name, [])

    def whole(part: Real, shape: Sequence[Any]) -> Real:
        """A part in its shape: the imaginary one of what was real is a number."""
        return graph.expand(part, shape) if isinstance(part, np.ndarray) and part.ndim < len(shape) else part

    both = [
        (value, value) if index in selectors else tuple(whole(part, shape) for part in parts(value))
        for index, (value, shape) in enumerate(zip(inputs, parameters["shapes"], strict=True))
    ]
    real, imag = (operation(graph, parameters, output, *(pair[i] for pair in both)) for i in (0, 1))
    if isinstance(real, list):
        return [Complex(one, other) for one, other in zip(real, imag, strict=True)]
    return Complex(real, imag)


def stored(graph: Graph, value: Any) -> Tensor:
    """An array as inputs and outputs hold it: a complex one with a last axis of its two parts."""
    if not is_complex(value):
        return graph.tensor(value)
    pieces = [graph.op("Unsqueeze", part, np.asarray([-1], np.int64)) for part in parts(value)]
    return graph.op("Concat", *pieces, axis=-1)


def taken(graph: Graph, tensor: Tensor, is_complex: bool) -> Any:
    """The inverse of `stored`."""
    if not is_complex:
        return tensor
    pieces = graph.op("Split", tensor, np.ones(2, np.int64), axis=-1, num_outputs=2)
    return Complex(*(graph.op("Squeeze", piece, np.asarray([-1], np.int64)) for piece in pieces))
