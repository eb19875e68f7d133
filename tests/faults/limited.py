"""Fresh interpreters with little memory, a small stack or another environment, and what they answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 300
"""Seconds until a child counts as hung; a machine that is busy may need many more than a quiet one."""
_START = """
import json, resource, sys, threading
given = json.loads(sys.stdin.buffer.readline())
if given["memory"]:
    resource.setrlimit(resource.RLIMIT_AS, (given["memory"],) * 2)
sys.path.append(given["tests"])
answers = []
def work():
    scope = {"asked": given["asked"]}
    exec(compile(given["code"], "<child>", "exec"), scope)
    answers.append(scope["answer"])
if given["stack"]:
    threading.stack_size(given["stack"])
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
print(json.dumps(answers[0]))
"""


def answer_of(code, asked=None, *, memory=None, stack=None, environment=None, folder=None):
    """What ``answer`` is after the code has run in a process of its own, where ``asked`` is given.

    Limits are bytes of address space, and of the stack of the thread that runs the code. A child that dies, or
    answers nothing, fails the test.
    """
    given = {"code": code, "asked": asked, "memory": memory, "stack": stack, "tests": str(TESTS)}
    done = subprocess.run(
        [sys.executable, "-c", _START], input=json.dumps(given).encode() + b"\n", capture_output=True,
        timeout=PATIENCE, cwd=folder or TESTS.parent, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)} | (environment or {}),
    )  # fmt: skip
    assert done.returncode == 0, f"the child ended with {done.returncode}: {done.stderr.decode()[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])
