"""What each operation of JAX is in ONNX: a file for each kind."""

from memorax.deployment.onnx_operations import complex_numbers, elementwise, reductions, shapes
from memorax.deployment.onnx_operations.complex_numbers import BY_PARTS, by_parts, is_complex, parts, stored, taken
from memorax.deployment.onnx_operations.operation import Complex

__all__ = ["BY_PARTS", "COMPLEX", "REAL", "Complex", "by_parts", "is_complex", "parts", "stored", "taken"]

REAL = {**elementwise.OPERATIONS, **shapes.OPERATIONS, **reductions.OPERATIONS}
"""Operations on real arrays."""

COMPLEX = complex_numbers.OPERATIONS
"""Operations on complex arrays that are not those of their parts."""
