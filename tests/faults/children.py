"""Children that are killed or interrupted: forked from one interpreter, with one thread and everything imported."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


class Child:
    """A process that runs one function of `faults.deeds`."""

    def __init__(self, server, pid, folder):
        self.server, self.pid, self.folder = server, pid, folder

    def wait(self):
        """Its exit status, negative for a signal; what it found is in `found`."""
        status = self.server.ask({"do": "wait", "pid": self.pid})["status"]
        answer = self.folder / "answer.json"
        self.found = json.loads(answer.read_text()) if answer.exists() else None
        self.printed = (self.folder / "printed").read_text(errors="replace")
        return status

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def await_file(self, name, seconds=60):
        """Wait until the child has written a file, as it does to say how far it is."""
        end = time.monotonic() + seconds
        while not (self.folder / name).exists():
            assert time.monotonic() < end, f"the child never wrote {name}: {(self.folder / 'printed').read_text()}"
            time.sleep(0.002)


class Server:
    """The interpreter that forks."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="children-"))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SYNTHLAB_WORKERS": "1", "PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faults.deeds"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=TESTS.parent, env=environment, start_new_session=True,
        )  # fmt: skip
        self.count = 0

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the interpreter that forks is gone"
        return json.loads(line)

    def start(self, deed, **arguments):
        """Begin a function of `faults.deeds` in a child."""
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        given = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        answer = self.ask({"do": "start", "deed": deed, "arguments": given, "folder": str(folder)})
        return Child(self, answer["pid"], folder)

    def run(self, deed, **arguments):
        """Status and finding of a function that is not disturbed from outside."""
        child = self.start(deed, **arguments)
        return child.wait(), child

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def shared():
    """The interpreter of all tests of this process."""
    server = Server()
    atexit.register(server.close)
    return server


def serve(deeds):
    """Fork for every line that asks for it; the rest of the work is the child's."""
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "wait":
            status = os.waitstatus_to_exitcode(os.waitpid(asked["pid"], 0)[1])
            print(json.dumps({"status": status}), flush=True)
            continue
        pid = os.fork()
        if not pid:
            os._exit(_child(deeds[asked["deed"]], asked["arguments"], Path(asked["folder"])))
        print(json.dumps({"pid": pid}), flush=True)


def _child(deed, arguments, folder):
    import traceback

    printed = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(TESTS.parent)
    try:
        found, status = deed(folder, **arguments), 0
    except KeyboardInterrupt:
        found, status = "interrupted", 130
    except BaseException:
        traceback.print_exc()
        found, status = traceback.format_exc(limit=-1).strip().splitlines()[-1], 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (folder / "answer.part").write_text(json.dumps(found))
    (folder / "answer.part").rename(folder / "answer.json")
    sys.stdout.flush()
    sys.stderr.flush()
    return status
