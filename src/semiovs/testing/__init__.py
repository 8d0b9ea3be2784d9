"""Checks for those who add a method, a teacher or a data set: call one in a test of the package that adds it."""

from semiovs.testing.methods import check_method, method_checks

__all__ = ["check_method", "method_checks"]
