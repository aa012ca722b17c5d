"""`python -m benchmarks` prints one table: each question, each storage, what was measured."""

import asyncio

from benchmarks import late_steps, throughput
from benchmarks.table import Row, print_table


def main() -> None:
    rows: list[Row] = []
    for question in (late_steps, throughput):
        rows += asyncio.run(question.measure())
    print_table(rows)


if __name__ == "__main__":
    main()
