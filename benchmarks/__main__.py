"""`python -m benchmarks` prints one table: each question, each storage, what was measured.

python -m benchmarks [late_steps] [throughput] [suspended]
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks import late_steps, suspended, throughput
from benchmarks.table import Row, print_table

QUESTIONS: Mapping[str, Callable[[], Awaitable[list[Row]]]] = {
    "late_steps": late_steps.measure,
    "throughput": throughput.measure,
    "suspended": suspended.measure,
}


def main(names: Sequence[str]) -> None:
    unknown = set(names) - set(QUESTIONS)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(QUESTIONS)}")
    rows: list[Row] = []
    for name in names or QUESTIONS:
        rows += asyncio.run(_asked(QUESTIONS[name]))
    print_table(rows)


async def _asked(question: Callable[[], Awaitable[list[Row]]]) -> list[Row]:
    return await question()


if __name__ == "__main__":
    main(sys.argv[1:])
