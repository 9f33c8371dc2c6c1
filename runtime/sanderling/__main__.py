"""`python -m sanderling`."""

from __future__ import annotations

from sanderling.cli import main

if __name__ == "__main__":
    main()
