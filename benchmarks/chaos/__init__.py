"""A standing campaign that harms semiovs while it works, and looks whether anything is lost."""
