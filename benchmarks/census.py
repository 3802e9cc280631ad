"""The census of Brian2 models: each text of tests/exchange/corpus in both simulators, one line a text.

python benchmarks/census.py [NAME ...]     the texts of the corpus, or some of them
python benchmarks/census.py --package      the neuron models written down in Brian2's own package
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.exchange.census import b, compare
from tests.exchange.corpus import TEXTS
from tests.exchange.package import census_of_the_package


def package() -> int:
    """Print what became of every neuron model in Brian2's package."""
    found = census_of_the_package()
    for outcome in found.outcomes:
        label = "same  " if outcome.matches else "random" if outcome.is_random else "DIFFER"
        print(label, outcome)
    for place, why in found.refused:
        print("no run", f"{place:32s} {why[:150]}")
    matched = sum(outcome.matches for outcome in found.outcomes)
    print(
        f"{matched} of {len(found.outcomes)} models with states match; {found.empty} have no states, "
        f"{len(found.refused)} were run by neither or refused"
    )
    return 0 if all(o.matches or o.is_random for o in found.outcomes) else 1


def main() -> int:
    b.BrianLogger.suppress_hierarchy("brian2")
    if sys.argv[1:] == ["--package"]:
        return package()
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
