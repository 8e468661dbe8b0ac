"""A lakeside in late afternoon light, as arrays of numbers.

The land is a height field, seen by walking every column of the picture outwards; trees, house,
boat and reeds are many small lit polygons; the clouds are marched through noise; the water shows
what a second camera sees that looks up from below.

Lengths are metres, x to the right, y up and z into the picture, with the lake's surface at y = 0.
Colours are linear RGB, about 0 to 1, until the film turns them into a photo.
"""
