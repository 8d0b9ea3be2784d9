"""Whether a run, a store of labels, a comparison or an exported file is whole; nothing is ever written."""
