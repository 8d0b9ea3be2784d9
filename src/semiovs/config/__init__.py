"""Schema, presets, loading."""

from semiovs.config.load import Difference, LoadedConfig, find_differences, load_config, split_source
from semiovs.config.schema import Config
from semiovs.config.sources import list_presets

__all__ = ["Config", "Difference", "LoadedConfig", "find_differences", "list_presets", "load_config", "split_source"]
