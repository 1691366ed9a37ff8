"""A window that shows frames, where there is a display."""

import subprocess
import sys

import cv2
import numpy as np

_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"
_QUIT = (ord("q"), ord("Q"), 27)  # 27: escape


def require_window() -> None:
    """Tries to open a window, in a process of its own: without a display, Qt ends the process that asks.

    Raises:
        ValueError: none can be opened.
    """
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
        why = "" if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["no reason given"])[0]
    except subprocess.TimeoutExpired:
        why = "no answer from the display"
    if why:
        raise ValueError(f"window: none can be opened here, by --output FILE.mp4 a video file is written ({why})")


class Window:
    """Shows one frame after the other.

    Args:
        title: of the window.
    """

    def __init__(self, title: str):
        self.title = title

    def show(self, picture: np.ndarray) -> bool:
        """Shows a frame.

        Args:
            picture: (h, w, 3) uint8 BGR.

        Returns:
            Whether more are wanted: the window is still open, and nobody has pressed q or escape.
        """
        cv2.imshow(self.title, picture)
        wanted = cv2.waitKey(1) & 0xFF not in _QUIT
        return wanted and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Closes it."""
        cv2.destroyAllWindows()
