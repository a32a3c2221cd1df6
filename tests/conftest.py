"""What every test needs: the catalogue's spaces and regimes by name, and one thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
