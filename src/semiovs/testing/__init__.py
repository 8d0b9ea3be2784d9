"""Contract checks for methods, teachers and data sets of other packages: call them in the tests of your package.

``check_…`` runs all checks and raises AssertionError for the first that fails; ``…_checks`` lists them one
by one.
"""

from semiovs.testing.datasets import check_dataset, dataset_checks
from semiovs.testing.methods import check_method, method_checks
from semiovs.testing.teachers import check_teacher, teacher_checks

__all__ = ["check_dataset", "check_method", "check_teacher", "dataset_checks", "method_checks", "teacher_checks"]
