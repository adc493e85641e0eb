"""Conversions between plain values and the values of the C API, one compiled for each function.

`checked` interprets a type each time and names every fault; `compiled` runs Python source that was
generated from the type once, and hands whatever it does not take to `checked`. Both accept and
refuse the same values. Nothing here calls a guest.
"""
