"""Checks for new parts: that acting equals learning, that nothing leaks, that protocols are kept.

Each check raises an `AssertionError` that says which truth does not hold; it returns nothing.
"""

from memorax.testing.algorithm import check_acting_equals_learning, check_algorithm
from memorax.testing.assertions import check_close
from memorax.testing.environment import check_environment
from memorax.testing.learning import check_learning
from memorax.testing.sequence_model import check_sequence_model

__all__ = [
    "check_acting_equals_learning",
    "check_algorithm",
    "check_close",
    "check_environment",
    "check_learning",
    "check_sequence_model",
]
