"""A result folder as one page."""
