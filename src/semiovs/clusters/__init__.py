"""Jobs on engines that schedule many machines."""
