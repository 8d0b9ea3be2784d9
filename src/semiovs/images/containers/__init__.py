"""Images inside tars and Hugging Face data sets."""

#: What the path of a data set begins with, at the start or after a slash.
SCHEME = "hf:"

#: How the name of a tar ends.
TAR = ".tar"

#: Kind of the error that a container was changed while it was in use.
CHANGED = "container-changed"
