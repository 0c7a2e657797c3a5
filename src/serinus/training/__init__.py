"""Trainers behind one protocol, and the export to `model.onnx`. The only room that imports torch."""
