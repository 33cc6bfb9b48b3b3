"""What an import loads, asked in a fresh interpreter: one process answers all questions of a worker, each in a fork of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType

# the answer of a child: the modules that are loaded after each statement, or the traceback of one that fails
_SERVER = """
import json, os, sys
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        answer, out = [], os.dup(1)
        os.dup2(2, 1)
        space = {"__name__": "__main__"}
        try:
            for statement in json.loads(line):
                exec(statement, space)
                answer.append(sorted(sys.modules))
        except BaseException:
            import traceback
            answer = traceback.format_exc()
        with open(out, "w") as file:
            file.write(json.dumps(answer) + "\\n")
        os._exit(0)
    os.waitpid(child, 0)
"""


class Importing:
    """`importing("import a", "import b")` gives the set of modules that are loaded after each statement, in an interpreter that
    has imported nothing before the first."""

    def __enter__(self) -> Importing:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def __call__(self, *statements: str) -> list[set[str]]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(statements) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, list), answer
        return [set(names) for names in answer]
