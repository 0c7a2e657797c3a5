"""Pages for people over the documents of the control API. No torch, no OpenCV, no CDN, no inline script."""

from serinus.ui.pages import Board, install_pages

__all__ = ["Board", "install_pages"]
