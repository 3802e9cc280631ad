# sympy's own annotations call the value of `Function(x)` a class and every argument a bare `Basic`; until they do
# better, pyright takes sympy for untyped.
from typing import Any

def __getattr__(name: str) -> Any: ...
