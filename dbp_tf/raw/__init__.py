"""From a camera's file to packed frames: levels, colour filters, packing, white balance."""
