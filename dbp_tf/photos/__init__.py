"""Your own photographs: which files are a burst, alignment, brightness."""
