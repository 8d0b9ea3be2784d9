"""The verbs as functions for scripts and notebooks; `import semiovs` offers them, and imports them when they are used.

They take the arguments of the command line, make the same checks, and raise `semiovs.errors.SemiovsError` with the same
messages, which name options as on the command line (``--out`` is ``out=``).
"""
