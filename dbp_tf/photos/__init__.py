"""Your own photographs, `python -m dbp_tf.photos`: bursts of any camera, without a ground truth.

`command` is the program and `settings` its parameters; `bursts` says which files belong together,
`looking` checks them and measures their light, `photographs` restores them. `brightness` finds the
exposure ratio; `alignment` makes the frames of a hand-held burst fit the reference, with the help
of `shifts` (shake) and `motion` (what moves).
"""
