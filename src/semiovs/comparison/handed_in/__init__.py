"""Runs that were made earlier, and files that were exported of runs, as the arms of a comparison."""
