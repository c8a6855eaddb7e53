"""The See-in-the-Dark dataset: which files make a burst, and training patches of them.

`sid` finds bursts by the names of their files, `checks` refuses pairs that cannot be true. For
training, `raw_cache` holds decoded files and `sources` those of each burst; `patches` draws patches
of them as `recipe` says, with `augmentation` and, for noise that is drawn anew, `exposures`;
`dataset` feeds them to TensorFlow.
"""
