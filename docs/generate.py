"""Writes the reference pages of docs/ from the code: topics, events, settings, commands, charges, tables of fields.

`make docs` runs it; tests/unit/test_docs.py compares its pages to those on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Pages show this checkout, never an installed copy of the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.generator import pages

if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
