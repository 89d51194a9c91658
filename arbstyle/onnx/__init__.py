"""The networks as ONNX graphs: written with PyTorch, run without it.

``export`` writes them, ``storage`` decides how their weights are kept, ``runtime`` paints with them and needs
NumPy, Pillow and ONNX Runtime only.
"""
