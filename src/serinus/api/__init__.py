"""The HTTP faces: `inference_app` and `control_app`, their guards, and one table from errors to HTTP."""
