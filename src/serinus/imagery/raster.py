"""OpenCV where it is installed, else what does the same without it: the one place that chooses.

Without OpenCV a serving installation is 150 MB smaller; see docs/adr/0029-serving-does-not-need-opencv.md.
"""

from typing import Any

cv2: Any
"""OpenCV's interface, as far as `plain` has it."""

try:
    import cv2
except ModuleNotFoundError:
    from serinus.imagery import plain

    cv2 = plain
else:
    # What strangers send is refused in words to them; the decoders' own remarks on stderr help nobody.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
