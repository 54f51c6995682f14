"""Turns new data of a source into inputs for the encoders: one module for each kind of stream.

`video` makes face crops of frames, `audio` makes chunks of sound, `text` makes token ids of words. Each keeps the state
of one stream of one source: its presence, and where its features lie. None of them runs an encoder.
"""
