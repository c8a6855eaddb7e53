"""The See-in-the-Dark layout, decoded raw files on disk, and training patches drawn from them."""
