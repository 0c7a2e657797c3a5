"""The dashboard's process stays light: it starts with the `ui` extra alone."""

import subprocess
import sys

HEAVY = ("torch", "onnxruntime", "cv2", "PIL", "numpy", "onnx", "hotcoco", "shapely", "matplotlib")


def test_the_control_app_and_its_pages_import_nothing_heavy() -> None:
    code = (
        "import sys, serinus.api.control_app, serinus.ui\n"
        f"print(sorted(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
