"""The process that holds the ClickHouse engine: statements come in, answers go out.

    python -m coverage_map.store.io_clickhouse_engine

The engine brings a dozen threads and signal handlers of its own, and may end its process: whoever
asks it a question keeps both at a distance. A question is a line of JSON, `["SELECT 1", "Null"]`;
an answer is a line `[true, bytes]` and as many bytes of result, or `[false, "what is wrong"]`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

WORDS_MAX = 300


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more questions."""
    from chdb.session import Session  # type: ignore[import-untyped,unused-ignore]

    session: Any = Session()  # type: ignore[no-untyped-call,unused-ignore]
    for line in questions:
        statement, form = json.loads(line)
        try:
            found = session.query(statement, form).bytes()
        except Exception as error:  # chdb raises its own kinds, some of them bare RuntimeErrors
            head, found = [False, str(error).strip().splitlines()[0][:WORDS_MAX]], b""
        else:
            head = [True, len(found)]
        answers.write(json.dumps(head).encode() + b"\n" + found)
        answers.flush()
    session.close()


def main() -> None:
    """Serve the parent on standard input and output."""
    # What the engine prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
