"""The one expression language: rules of a space, `--where` on a population, axes of a plot.

Names of columns, numbers, arithmetic, comparisons, `and or not`, a few functions, and the neighbour
form `w[i+1] >= w[i]`. The text is parsed and checked, then evaluated over numpy columns here: it is
never run as Python.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dsd.errors import UsageError, suggestion

STAGE_PARAMETERS = ("d", "w", "b", "g")
EVERY_STAGE = {"w", "b", "g"}  # without an index they mean every stage; d is the total depth
LONGEST, DEEPEST = 1000, 100


def _times(a: NDArray[Any], b: NDArray[Any]) -> Any:
    whole = a.dtype.kind in "iu" and b.dtype.kind in "iu"
    return np.multiply(a, b, dtype=np.float64 if whole else None)  # flops * flops outgrows int64


_ARITHMETIC: dict[type, Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: _times,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}
_COMPARISONS: dict[type, Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "sqrt": (1, np.sqrt),
    "log": (1, np.log),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "abs": (1, np.abs),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
}


@dataclass(frozen=True)
class Expression:
    """A checked expression: the plain names it reads, and those it reads as name[i]."""

    text: str
    tree: ast.expr
    names: frozenset[str]
    neighbors: frozenset[str]
    offsets: frozenset[int]
    is_condition: bool

    @property
    def reach(self) -> int:
        """How many stages its furthest index looks ahead."""
        return max(self.offsets, default=0)

    @property
    def normal(self) -> str:
        """The text in one spelling, whatever its blanks."""
        return ast.unparse(self.tree)

    def __call__(self, columns: Mapping[str, Any], stages: int) -> NDArray[Any]:
        """Value for each of n networks, from columns (n,): bool (n,) for a condition.

        A stage parameter without an index (w, b, g) means every stage: the condition must hold in
        all of them. `name[i]` runs over all stages for which every index used exists. A number
        must be the same in all stages, as b is in a space that shares it.
        """
        with np.errstate(all="ignore"):
            value = _evaluate(self.tree, columns, stages, self.reach)
        if self.is_condition:
            return np.asarray(value.all(axis=1))
        first = value[:, :1]
        if not ((value == first) | np.isnan(value)).all():
            one = f"{min(self.names & EVERY_STAGE, default='w')}1"
            raise UsageError(
                f"'{self.text}' differs between stages; name the stage, such as {one}."
            )
        return np.asarray(first[:, 0])


def parse(text: str, known: Collection[str], where: str) -> Expression:
    """Read an expression over `known` column names; `where` names its place in errors.

    Raises UsageError for anything outside the language and for an unknown name.
    """
    tree = _tree(text, where)
    scan = _Scan(text, set(known), where)
    is_condition = scan.visit(tree)
    if scan.neighbors and scan.names & set(STAGE_PARAMETERS) - {"d"}:
        raise UsageError(f"{where}: '{text}' mixes name and name[i]; use the index throughout.")
    names, neighbors = frozenset(scan.names), frozenset(scan.neighbors)
    offsets = frozenset(scan.offsets)
    return Expression(text, tree, names, neighbors, offsets, is_condition)


def parse_rule(text: Any, known: Collection[str], where: str) -> list[Expression]:
    """The conditions of a rule, split at its top-level `and`. Raises UsageError."""
    if not isinstance(text, str):
        raise UsageError(f"{where}: {text!r}; a rule is a text such as 'w[i+1] >= w[i]'.")
    whole = parse(text, known, where)
    if not whole.is_condition:
        raise UsageError(f"{where}: '{text}' is a number, not a condition such as 'd <= 40'.")
    tree = whole.tree
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        return [parse(ast.unparse(part), known, where) for part in tree.values]
    return [whole]


def by_stage(rule: Expression, stages: int) -> list[Expression]:
    """The rule wherever it applies, its columns named in full: `w[i+1] >= w[i]` over three stages
    is `w2 >= w1` and `w3 >= w2`. All of them hold where the rule does."""
    if rule.neighbors:
        places = range(stages - rule.reach)
    else:
        places = range(stages if rule.names & EVERY_STAGE else 1)
    return [_named(rule, at) for at in places]


def _named(rule: Expression, at: int) -> Expression:
    tree = cast(ast.expr, _Named(at).visit(ast.parse(rule.normal, mode="eval").body))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called}
    return Expression(ast.unparse(tree), tree, frozenset(names), frozenset(), frozenset(), True)


class _Named(ast.NodeTransformer):
    """w, w[i] and w[i+1] become w2, w2 and w3 at the second stage (`at` 1); d stays the total."""

    def __init__(self, at: int) -> None:
        self.at = at

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"{node.id}{self.at + 1}") if node.id in EVERY_STAGE else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Name:
        name = cast(ast.Name, node.value).id
        return ast.Name(f"{name}{self.at + 1 + offset(node.slice, ValueError())}")


def _tree(text: str, where: str) -> ast.expr:
    if len(text) > LONGEST:
        raise UsageError(f"{where}: an expression of {len(text)} characters; {LONGEST} at most.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = " Equal is ==." if re.search(r"[^=<>!]=[^=]", text) else ""
        raise UsageError(
            f"{where}: '{text}' cannot be read as an expression, as 'd <= 20 and w4 > 2 * w3' or"
            f" 'w4 / w1' can.{hint}"
        ) from None
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise UsageError(f"{where}: '{text}' nests its parts over {DEEPEST} deep; several rules, "
                         "or `and` between its parts, would work.")  # fmt: skip
    return tree


class _Scan:
    """Walks a tree once: refuses what the language lacks, collects names, tells conditions."""

    def __init__(self, text: str, known: set[str], where: str) -> None:
        self.text, self.known, self.where = text, known, where
        self.names: set[str] = set()
        self.neighbors: set[str] = set()
        self.offsets: list[int] = []

    def visit(self, node: ast.expr) -> bool:
        """Whether the node is a condition (a truth value) rather than a number."""
        match node:
            case ast.BoolOp(values=parts):
                self._need(parts, True)
                return True
            case ast.UnaryOp(op=ast.Not(), operand=part):
                self._need([part], True)
                return True
            case ast.Compare(left=left, ops=ops, comparators=rest):
                if not all(type(op) in _COMPARISONS for op in ops):
                    raise self._refusal(node)
                self._need([left, *rest], False)
                return True
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                self._need([left, right], False)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
                self._need([part], False)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._call(name, args, node)
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                self._neighbor(name, index, node)
            case ast.Name(id=name):
                self._name(name)
            case ast.Constant(value=value) if type(value) in (int, float):
                self._number(value)
            case _:
                raise self._refusal(node)
        return False

    def _need(self, parts: list[ast.expr], condition: bool) -> None:
        for part in parts:
            if self.visit(part) is not condition:
                kind = "a condition" if condition else "a number"
                raise UsageError(
                    f"{self.where}: '{ast.unparse(part)}' in '{self.text}' is not {kind}."
                )

    def _call(self, name: str, args: list[ast.expr], node: ast.expr) -> None:
        if name not in _FUNCTIONS or len(args) != _FUNCTIONS[name][0]:
            raise self._refusal(node)
        self._need(args, False)

    def _neighbor(self, name: str, index: ast.expr, node: ast.expr) -> None:
        if name not in STAGE_PARAMETERS:
            raise self._refusal(node)
        self._check(name, {f"{name}1"})
        self.offsets.append(offset(index, self._refusal(node)))
        self.neighbors.add(name)

    def _number(self, value: Any) -> None:
        if value > sys.float_info.max:
            raise UsageError(f"{self.where}: a number in '{self.text}' is above "
                             f"{sys.float_info.max:.1e}, the largest that works.")  # fmt: skip

    def _name(self, name: str) -> None:
        self._check(name, {name, f"{name}1"} if name in STAGE_PARAMETERS else {name})
        self.names.add(name)

    def _check(self, name: str, any_of: set[str]) -> None:
        if not any_of & self.known:
            hint = suggestion(name, self.known)
            raise UsageError(f"{self.where}: unknown name '{name}' in '{self.text}'.{hint}")

    def _refusal(self, node: ast.expr) -> UsageError:
        return UsageError(
            f"{self.where}: '{ast.unparse(node)}' in '{self.text}' is not part of the language: "
            "columns, numbers, + - * / // % **, comparisons, and/or/not, sqrt, log, min, max, "
            "w[i], w[i+1]."
        )


def offset(index: ast.expr, refusal: Exception) -> int:
    """k of the index i + k (k >= 0). Raises `refusal` for any other index."""
    match index:
        case ast.Name(id="i"):
            return 0
        case ast.BinOp(left=ast.Name(id="i"), op=ast.Add(), right=ast.Constant(value=k)):
            if type(k) is int:
                return k
    raise refusal


def _evaluate(node: ast.expr, columns: Mapping[str, Any], stages: int, reach: int) -> Any:
    def value(part: ast.expr) -> Any:
        return _evaluate(part, columns, stages, reach)

    match node:
        case ast.BoolOp(op=op, values=parts):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return _reduce(combine, [value(part) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return np.logical_not(value(part))
        case ast.UnaryOp(op=op, operand=part):
            return -value(part) if isinstance(op, ast.USub) else value(part)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            sides = [value(side) for side in (left, *rest)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            return _reduce(np.logical_and, [_COMPARISONS[type(op)](a, b) for op, a, b in pairs])
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](value(left), value(right))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][1](*(value(arg) for arg in args))
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            first = offset(index, ValueError())
            return _stack(name, columns, stages)[:, first : max(first, stages - reach + first)]
        case ast.Name(id=name):
            plain = name in columns
            return np.asarray(columns[name])[:, None] if plain else _stack(name, columns, stages)
        case ast.Constant(value=number):
            return np.array([[float(number)]])  # type: ignore[arg-type]
    raise AssertionError(ast.dump(node))


def _stack(name: str, columns: Mapping[str, Any], stages: int) -> NDArray[Any]:
    return np.stack([columns[f"{name}{i + 1}"] for i in range(stages)], axis=1)


def _reduce(combine: Callable[..., Any], parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = combine(total, part)
    return total
