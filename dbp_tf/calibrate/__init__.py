"""Calibration: dark and flat raw files become the description of a camera and its noise.

`command` is the program. `frames` reads the files, `checks` refuses those that are not what they
are said to be, `darks` measures the noise without light (`tukey` its distribution), `transfer` the
gain from `pairs` of bright frames, `colours` reads the colours, `page` draws what was found.
"""
