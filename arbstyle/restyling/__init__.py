"""Whole data sets repainted: the layout and labels kept, a style for each picture that can be drawn again.

:mod:`draw` says which style a picture gets, :class:`Restyler` paints, :mod:`folders`, :mod:`tables` and
:mod:`shards` read and write a form each, :mod:`forms` chooses among them, :class:`Job` cuts a set into parts
that are done whole or not at all, and an engine runs the parts: :mod:`local` on this machine,
:mod:`ray_engine` on any number.
"""
