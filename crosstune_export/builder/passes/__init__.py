"""Graph rewrites, one per file.

A pass is a function ``apply(model) -> int``, which changes the model in place and returns how often it was applied. Its
docstring states its precondition (Requires) and its guarantee (Ensures). A test runs each pass on a minimal graph, with the
optimizations of onnxruntime turned off.
"""
