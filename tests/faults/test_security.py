"""Nothing executes data, notebooks stay on this machine behind a token, and pinned versions are checked."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from faults.dangers import ROOT, dangers, sources

FAULT = "code in data, open servers, known vulnerabilities"

# Every place that may, and why.
ALLOWED = {
    # work for other processes travels pickled by the process that hands it out; nothing pickled is stored or read
    "synthlab/universe/sharding.py": {"imports cloudpickle"},
    # plants malicious pickles, to see them refused
    "tests/faults/test_pickles.py": {"imports pickle", "pickles with np.save"},
    # reads code without running it: that of notebooks, of a card, and of what a study imports
    "tests/project/test_notebooks.py": {"calls compile"},
    "tests/study/test_cards.py": {"calls compile"},
    "tests/study/test_study.py": {"calls __import__"},
    # asks a JupyterLab of its own on this machine
    "tests/browser/lab.py": {"imports urllib.request"},
    "tests/faults/test_security.py": {"imports urllib.request"},
    # Python itself as the oracle of arithmetic, on texts that the test wrote
    "tests/language/test_program.py": {"calls eval"},
    "tests/study/test_benchmark.py": {"calls eval", "calls compile"},
    "tests/benchmarks/peers.py": {"calls eval", "calls compile"},
    # the lines of Python that a panel prints for its reader are run as the reader would
    "tests/study/test_redraw.py": {"calls exec"},
    "tests/views/explorer/test_panel.py": {"calls exec"},
    # the storage tests name what they kill by source text of their own
    "tests/faults/test_kills.py": {"calls eval"},
}  # fmt: skip


def places(folder):
    """Dangerous places of a folder, by file, but for those that are allowed."""
    found = {}
    for name, source in sources(folder):
        rest = [d for d in dangers(ast.parse(source)) if re.sub(r"^line \d+ ", "", d) not in ALLOWED.get(name, ())]
        if rest:
            found[name] = rest
    return found


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("folder", ["synthlab", "tests", "notebooks", ".ci"])
def test_no_source_runs_data_unpickles_opens_a_shell_or_calls_home(folder, fired):
    assert places(folder) == {}
    fired(max(1, len(list(sources(folder)))))


def test_every_place_that_is_allowed_exists():
    trees = {name: list(dangers(ast.parse(source))) for name, source in sources("synthlab", "tests")}
    for name in set(ALLOWED) & set(trees):
        assert trees[name], f"{name} needs no exception"


DANGEROUS = [
    "eval(text)", "builtins.exec(text)", "compile(text, '', 'exec')", "import pickle", "from joblib import load",
    "from joblib import cpu_count, load", "import joblib",
    "import dill", "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=flag)", "pd.read_pickle(path)",
    "subprocess.run(line, shell=True)", "subprocess.run('ls -l')", "subprocess.Popen(f'ls {folder}')",
    "os.system(line)", "os.popen(line)", "torch.load(path)", "torch.load(path, weights_only=False)", "yaml.load(text)",
    "yaml.load(text, Loader=yaml.Loader)", "tempfile.mktemp()", "AutoModel.from_pretrained(n, trust_remote_code=True)",
    "import requests", "from urllib.request import urlopen", "Net.load_from_checkpoint(path)",
]  # fmt: skip
HARMLESS = [
    "model.eval()", "re.compile(text)", "np.load(p, allow_pickle=False)", "torch.load(p, weights_only=True)",
    "yaml.load(text, Loader=yaml.SafeLoader)", "yaml.safe_load(text)", "subprocess.run(['ls', folder])",
    "tempfile.mkstemp()", "from urllib.parse import quote", "from joblib import cpu_count",
]  # fmt: skip


@pytest.mark.fault(FAULT)
def test_planted_dangers_are_noticed_and_harmless_calls_are_not(fired):
    assert [source for source in DANGEROUS if not list(dangers(ast.parse(source)))] == []
    assert [source for source in HARMLESS if list(dangers(ast.parse(source)))] == []
    fired(len(DANGEROUS))


# ---------------------------------------------------------------- the server of the notebooks


def flags():
    """What `make jupyter` starts JupyterLab with."""
    (line,) = re.findall(r"^\t@\$\(BIN\)/jupyter lab (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return line.replace("$(ROOT_FLAG)", "--allow-root" if os.geteuid() == 0 else "").split()


def answer(url):
    """Status of a page, and the address that it ends at."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.url
    except urllib.error.HTTPError as error:
        return error.code, error.url


@pytest.fixture
def server(tmp_path):
    """JupyterLab as `make jupyter` starts it, without a browser: its process, and what it says of itself."""
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "jupyter", "lab", *flags(), "--no-browser"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=log, stderr=log)
    try:
        yield process, told(process, tmp_path / "JUPYTER_RUNTIME_DIR")
    finally:
        process.terminate()
        process.wait(timeout=30)


def told(process, folder):
    for _ in range(480):
        assert process.poll() is None, "JupyterLab ended before it answered"
        for path in folder.glob("jpserver-*.json"):
            try:
                found = json.loads(path.read_text())
                answer(found["url"] + "api")
            except (OSError, ValueError):
                continue
            return found
        time.sleep(0.25)
    raise AssertionError("JupyterLab did not answer within two minutes")


@pytest.mark.fault(FAULT)
def test_make_jupyter_listens_on_this_machine_only_and_asks_for_its_token(server, fired):
    process, about = server
    assert "--ip=127.0.0.1" in flags()
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = [c.laddr.ip for p in tree for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening and set(listening) == {"127.0.0.1"}
    url, token = f"http://127.0.0.1:{about['port']}", about["token"]
    assert len(token) >= 32
    for path in ("api/contents", "api/kernels", "api/terminals", "files/00_tour.ipynb"):
        for guess in ("", f"?token={'0' * len(token)}"):
            status, end = answer(f"{url}/{path}{guess}")
            assert status in (401, 403) or "/login" in end, (path, guess, status, end)
    assert "/login" in answer(f"{url}/lab")[1]
    assert answer(f"{url}/api/contents?token={token}")[0] == 200
    fired(9)


@pytest.mark.fault(FAULT)
def test_no_token_address_or_home_folder_stands_in_a_notebook(fired):
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert found
    for path in found:
        assert not re.search(
            r"[?&]token=\w|http://(127\.0\.0\.1|localhost):\d|/home/\w|/root/|/Users/", path.read_text()
        ), path.name
    fired(len(found))


# ---------------------------------------------------------------- known vulnerabilities


@pytest.mark.fault(FAULT)
def test_no_pinned_version_has_a_known_vulnerability(fired):
    """Asks the database of PyPI where pip-audit is installed and reaches it."""
    tool = shutil.which("pip-audit") or shutil.which("pip-audit", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("pip-audit is not installed: pip install pip-audit")
    options = ["--no-deps", "--disable-pip", "-s", "pypi", "-f", "json", "--progress-spinner", "off"]
    command = [tool, "-r", str(ROOT / "constraints.txt"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip() or "no answer").splitlines()[-1]
        pytest.skip(f"pip-audit does not reach its database: {reason[:200]}")
    checked = [d for d in report["dependencies"] if "skip_reason" not in d]
    if not checked:
        pytest.skip("pip-audit's database knows none of the pinned versions")
    found = {d["name"]: [(v["id"], v["fix_versions"]) for v in d["vulns"]] for d in checked if d["vulns"]}
    assert found == {}
    fired(len(checked))
