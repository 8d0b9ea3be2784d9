"""Checks for those who add a method, a teacher or a data set: call one in a test of the package that adds it.

``check_…`` runs them all and raises an AssertionError for the first that does not hold; ``…_checks`` lists them one
by one.
"""

from semiovs.testing.datasets import check_dataset, dataset_checks
from semiovs.testing.methods import check_method, method_checks
from semiovs.testing.teachers import check_teacher, teacher_checks

__all__ = ["check_dataset", "check_method", "check_teacher", "dataset_checks", "method_checks", "teacher_checks"]
