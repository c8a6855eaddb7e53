"""A photograph becomes a dark burst and its truth, as raw files."""
