#!/bin/sh
# Set up brian2modelfitting 0.4 in a virtual environment of its own: it needs NumPy below 2, eqsnn NumPy 2.
#
#     sh benchmarks/peers/brian2modelfitting.sh [FOLDER]      (default: ~/.cache/eqsnn/brian2modelfitting)
#
# Python 3.11 or older, since it imports distutils; name another with PYTHON=python3.11. Only what it imports is
# installed: without efel (features of voltage traces, which nothing here uses) no compiler is needed.
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/eqsnn/brian2modelfitting}
[ -f "$folder/.installed" ] && exit 0
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info[:2] > (3, 11))' || {
    echo "brian2modelfitting 0.4 needs Python 3.11 or older; set PYTHON" >&2
    exit 1
}
"${PYTHON:-python3}" -m venv "$folder"
install="$folder/bin/python -m pip install -q --disable-pip-version-check"
# Nevergrad 0.3 is the last that brian2modelfitting 0.4 allows; bayesian-optimization 2 has no UtilityFunction, which
# it imports
$install "numpy==1.26.4" "setuptools==65.5.0" "Cython==3.3.1" "Brian2==2.9.0" "nevergrad==0.3.0" "cma==4.5.0" \
    "bayesian-optimization==1.4.3" "scikit-optimize==0.10.2" "scikit-learn==1.9.1" "scipy==1.17.1" \
    "sympy==1.14.0" "tqdm==4.70.1" "lmfit==1.3.4"
$install --no-deps --no-build-isolation "brian2modelfitting==0.4"
touch "$folder/.installed"
