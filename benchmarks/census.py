"""The census of Brian2 models: each text of tests/exchange/corpus in both simulators, one line a text.

python benchmarks/census.py [NAME ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.exchange.census import b, compare
from tests.exchange.corpus import TEXTS


def main() -> int:
    b.BrianLogger.suppress_hierarchy("brian2")
    chosen = [text for text in TEXTS if not sys.argv[1:] or text.__name__ in sys.argv[1:]]
    found = []
    for text in chosen:
        found.append(compare(text))
        print("same  " if found[-1].matches else "DIFFER", found[-1], flush=True)
    matched = sum(outcome.matches for outcome in found)
    print(
        f"{matched} of {len(found)} texts match, {sum(outcome.spikes for outcome in found)} spikes"
    )
    return 0 if matched == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
