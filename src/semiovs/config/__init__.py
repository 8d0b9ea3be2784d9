"""Schema, presets, loading."""

from semiovs.config.catalog import list_presets
from semiovs.config.load import Difference, Loaded, diff, load_config, split_source
from semiovs.config.schema import Config

__all__ = ["Config", "Difference", "Loaded", "diff", "list_presets", "load_config", "split_source"]
