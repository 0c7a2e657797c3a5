"""Running `model.onnx`: the session, the check of what it answers, the sandboxed trial run. No torch."""
