"""Every place in Python source that runs text as code, unpickles, opens a shell, or reaches beyond this machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pickletools"}
HARMLESS = {"joblib": {"cpu_count"}}
NETWORK = {"requests", "urllib.request", "urllib3", "httpx", "aiohttp", "http.client", "ftplib", "smtplib"}
CODE = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
STARTERS = {"run", "Popen", "call", "check_call", "check_output"}
OTHERS = {
    "tempfile.mktemp": "names a file that another may make", "yaml.load": "calls yaml.load",
    "yaml.unsafe_load": "calls yaml.unsafe_load",
    "mktemp": "names a file that another may make",
}  # fmt: skip


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """Name and text of every module below some folders, and of the code of every notebook."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()
        for path in sorted((ROOT / folder).rglob("*.ipynb")):
            cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
            yield str(path.relative_to(ROOT)), "\n".join(cells)


def dangers(tree: ast.AST) -> Iterator[str]:
    """Every dangerous place of a module, as ``line 3 calls eval``."""
    for node in ast.walk(tree):
        danger = None
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [_from(node)]
            danger = next((f"imports {n}" for n in names if n.split(".")[0] in UNPICKLERS or n in NETWORK), None)
        elif isinstance(node, ast.Call):
            danger = _dangerous_call(node)
        if danger:
            yield f"line {node.lineno} {danger}"


def _from(node: ast.ImportFrom) -> str:
    """The module that something is imported from; nothing where all of it is harmless."""
    module = node.module or ""
    return "" if {a.name for a in node.names} <= HARMLESS.get(module, set()) else module


def _dangerous_call(node: ast.Call) -> str | None:
    name = ast.unparse(node.func)
    last = name.split(".")[-1]
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    if name.removeprefix("builtins.") in CODE or name in SHELLS:
        return f"calls {name.removeprefix('builtins.')}"
    if name in OTHERS and "Safe" not in " ".join([*map(ast.unparse, node.args), *keywords.values()]):
        return OTHERS[name]
    if last in ("read_pickle", "to_pickle") or keywords.get("allow_pickle", "False") != "False":
        return f"pickles with {name}"
    if keywords.get("shell", "False") != "False" or (name.startswith("subprocess.") and _is_line(node, last)):
        return f"opens a shell with {name}"
    if (name == "torch.load" or last == "load_from_checkpoint") and keywords.get("weights_only") != "True":
        return f"calls {name} without weights_only=True"
    if keywords.get("trust_remote_code", "False") != "False":
        return f"runs what {name} downloads"
    return None


def _is_line(node: ast.Call, name: str) -> bool:
    """Whether a process is started by a line of text, which a shell would have to read."""
    is_text = bool(node.args) and isinstance(node.args[0], (ast.JoinedStr, ast.Constant))
    return name in STARTERS and is_text
