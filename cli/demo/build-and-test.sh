# A small package is written, built and tested: only sh and python3, nothing from the network.
set -eu
export PYTHONPATH="$PWD/build/lib" PYTHONDONTWRITEBYTECODE=1

step() {
    echo "==> $*"
    sleep 0.5
}

step "writing the package 'primes'"
mkdir -p src/primes tests
cat > src/primes/__init__.py <<'PY'
"""Prime numbers."""

from itertools import count, islice


def primes():
    """Yield 2, 3, 5, 7, ... by an incremental sieve."""
    composites = {}
    for number in count(2):
        steps = composites.pop(number, None)
        if steps is None:
            yield number
            composites[number * number] = [number]
            continue
        for step in steps:
            composites.setdefault(number + step, []).append(step)


def first(n):
    """Return the first n of them."""
    return list(islice(primes(), n))
PY
cat > tests/test_primes.py <<'PY'
import unittest

from primes import first


class Primes(unittest.TestCase):
    def test_the_first_ten(self):
        self.assertEqual(first(10), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29])

    def test_the_ten_thousandth(self):
        self.assertEqual(first(10_000)[-1], 104_729)

    def test_none_has_a_divisor(self):
        for prime in first(500):
            self.assertTrue(all(prime % divisor for divisor in range(2, int(prime**0.5) + 1)))

    def test_none_asked_none_given(self):
        self.assertEqual(first(0), [])


if __name__ == "__main__":
    unittest.main()
PY
find src tests -name '*.py' -exec wc -l {} +

step "building it"
mkdir -p build/lib dist
cp -R src/primes build/lib/
env -u PYTHONDONTWRITEBYTECODE python3 -m compileall -f build/lib
python3 -m zipapp build/lib -m 'primes:first' -o dist/primes.pyz
ls -l dist

step "testing it"
python3 -m unittest discover -v -s tests

step "using it"
for n in 1 2 3 4 5; do
    python3 -c "from primes import first; n = 1000 * $n; print(f'prime number {n}: {first(n)[-1]}')"
    sleep 0.2
done
echo "==> done"
