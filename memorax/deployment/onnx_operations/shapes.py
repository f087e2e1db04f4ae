"""Operations that move, cut and join arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real
from memorax.deployment.onnx_operations.operation import Operations, cast

END = np.iinfo(np.int64).max

OPERATIONS = Operations()


@OPERATIONS.of("reshape", "squeeze", "expand_dims")
def _reshape(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    return graph.reshape(value, output.shape)


@OPERATIONS.of("broadcast_in_dim")
def _broadcast(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    shape, kept = parameters["shapes"][0], parameters["broadcast_dimensions"]
    inserted = [axis for axis in range(len(output.shape)) if axis not in kept]
    if inserted:
        value = graph.op("Unsqueeze", value, np.asarray(inserted, np.int64))
    stretched = [size != output.shape[axis] for size, axis in zip(shape, kept, strict=True)]
    if any(stretched) or any(output.shape[axis] != 1 for axis in inserted):
        return graph.expand(value, output.shape)
    return value


@OPERATIONS.of("transpose")
def _transpose(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Transpose", value, perm=list(parameters["permutation"]))


@OPERATIONS.of("concatenate")
def _concatenate(graph: Graph, parameters: Any, output: Any, *values: Real) -> Real:
    return graph.op("Concat", *values, axis=parameters["dimension"]) if len(values) > 1 else values[0]


@OPERATIONS.of("stack")
def _stack(graph: Graph, parameters: Any, output: Any, *values: Real) -> Real:
    axis = parameters["axis"]
    return graph.op("Concat", *(graph.op("Unsqueeze", x, np.asarray([axis], np.int64)) for x in values), axis=axis)


@OPERATIONS.of("unstack")
def _unstack(graph: Graph, parameters: Any, output: Any, value: Real) -> list[Real]:
    axis = parameters["axis"]
    length = parameters["shapes"][0][axis]
    return [graph.op("Gather", value, np.asarray(index, np.int64), axis=axis) for index in range(length)]


@OPERATIONS.of("split")
def _split(graph: Graph, parameters: Any, output: Any, value: Real) -> list[Real]:
    sizes = parameters["sizes"]
    if len(sizes) == 1:
        return [value]
    lengths = np.asarray(sizes, np.int64)
    return graph.op("Split", value, lengths, axis=parameters["axis"], num_outputs=len(sizes))


@OPERATIONS.of("slice")
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


@OPERATIONS.of("dynamic_slice")
def _dynamic_slice(graph: Graph, parameters: Any, output: Any, value: Real, *starts: Real) -> Real:
    first = np.asarray([0], np.int64)
    start = graph.op("Concat", *(graph.op("Unsqueeze", cast(graph, x, np.int64), first) for x in starts), axis=0)
    return _cut(graph, value, start, parameters["shapes"][0], output.shape, range(len(starts)))


def _cut(graph: Graph, value: Real, start: Real, shape: Any, sizes: Any, axes: Sequence[int]) -> Real:
    """A part of `value`, of a shape, with given sizes; `start` int64 names where it begins along `axes`."""
    length, size = (graph.shape([x[axis] for axis in axes]) for x in (shape, sizes))
    first = np.asarray([0], np.int64)
    start = graph.op("Max", graph.op("Min", start, graph.op("Sub", length, size)), first)
    return graph.op("Slice", value, start, graph.op("Add", start, size), np.asarray(axes, np.int64))


@OPERATIONS.of("gather")
def _gather(graph: Graph, parameters: Any, output: Any, value: Real, indices: Real) -> Real:
    """One part of an array, or elements along one axis, as `value[:, indices]` and `take_along_axis` ask for."""
    numbers, shape, sizes = parameters["dimension_numbers"], parameters["shapes"][0], parameters["slice_sizes"]
    index_axes, rows = len(parameters["shapes"][1]) - 1, numbers.operand_batching_dims
    if parameters["mode"].name not in ("CLIP", "PROMISE_IN_BOUNDS"):
        raise NotImplementedError("gather out of bounds")
    index = cast(graph, indices, np.int64)
    if not index_axes:
        return graph.reshape(_cut(graph, value, index, shape, sizes, numbers.start_index_map), output.shape)
    axis = numbers.start_index_map[0]
    whole = all(size == shape[i] or i == axis or i in rows for i, size in enumerate(sizes))
    if numbers.start_index_map != numbers.collapsed_slice_dims or not whole:
        raise NotImplementedError("gather of several parts")
    index = graph.op("Squeeze", index, np.asarray([-1], np.int64))
    last = graph.op("Sub", graph.shape([shape[axis]]), np.asarray([1], np.int64))
    index = graph.op("Max", graph.op("Min", index, last), np.asarray([0], np.int64))
    placed = numbers.offset_dims
    if not rows and placed == tuple(i for i in range(len(output.shape)) if not axis <= i < axis + index_axes):
        return graph.op("Gather", value, index, axis=axis)
    # Each row of some axes has indices of its own, the same along all other axes.
    if placed != tuple(i for i in range(len(shape)) if i not in (*rows, axis)) or index_axes != len(rows) + 1:
        raise NotImplementedError("gather of parts by rows")
    index = graph.op("Unsqueeze", index, np.asarray(placed, np.int64)) if placed else index
    return graph.op("GatherElements", value, graph.expand(index, output.shape), axis=axis)


@OPERATIONS.of("rev")
def _reverse(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    axes = list(parameters["dimensions"])
    bounds = ([-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes))
    return graph.op("Slice", value, *(np.asarray(x, np.int64) for x in bounds))


@OPERATIONS.of("pad")
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


@OPERATIONS.of("iota")
def _iota(graph: Graph, parameters: Any, output: Any, *_: Real) -> Real:
    axis = parameters["dimension"]
    length = graph.op("Squeeze", graph.shape([output.shape[axis]]))
    numbers = graph.op("Range", np.asarray(0, np.int64), length, np.asarray(1, np.int64))
    aligned = graph.reshape(
        cast(graph, numbers, output.dtype), [n if i == axis else 1 for i, n in enumerate(output.shape)]
    )
    return graph.expand(aligned, output.shape)


@OPERATIONS.of("dim_as_value")
def _size(graph: Graph, parameters: Any, output: Any) -> Real:
    return cast(graph, graph.op("Squeeze", graph.shape([parameters["dim"]])), output.dtype)
