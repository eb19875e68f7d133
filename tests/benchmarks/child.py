"""One measurement in a process of its own: `python child.py module.function '{"argument": 1}'` prints JSON."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[k]) for k in (1, 2)]  # `benchmarks`, and synthlab uninstalled

if __name__ == "__main__":
    module, function = sys.argv[1].split(".")
    result = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(sys.argv[2]))
    print(json.dumps(result))
