"""Reads YAML as it is meant: recipes, studies, domains, judges.

PyYAML reads YAML 1.1, which has surprises that YAML 1.2 took out, and lets pass what is surely a
mistake. Here numbers and times are those of YAML 1.2: `1e-8` is a number, `12:30` and `2024-05-01`
are text. A number with a leading zero (`0123456` would be 42798), a key that comes twice, and a key
that is not text are refused. A small file cannot grow large in memory: aliases are counted as if
written out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.reader import ReaderError

from fspo.errors import FspoError, cut, excerpt
from fspo.text_files import line_of, read_text

_DEPTH = 50  # lists and keys inside one another
_SIZE = 100_000  # values with aliases written out; 100 characters of text count as one more
_TOO_DEEP = f"lists and keys stand more than {_DEPTH} deep inside one another"
_TAG = "tag:yaml.org,2002:"
# YAML 1.1 ends a line at these, too, and so would cut a sentence that holds one. Nobody writes the
# characters that stand for them meanwhile: Unicode has set these apart as no characters.
_NO_ENDS = {0x85: 0x1FFFE, 0x2028: 0x10FFFE, 0x2029: 0x10FFFF}
_ENDS = {other: own for own, other in _NO_ENDS.items()}


def read_yaml(path: Path) -> object:
    """Reads a file that holds one YAML document; nothing but plain values comes out of it.

    Returns:
        A dictionary with texts for keys, a list, a text, a number, a truth value, or None for a
        file that says nothing.

    Raises:
        FspoError: naming file and line, if it cannot be read, is not YAML, or is refused.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, source: str) -> object:
    """Parses one YAML document, as `read_yaml` does that of a file.

    Args:
        text: the document.
        source: where it comes from, for messages.
    """
    try:
        value: object = _Loader(text.translate(_NO_ENDS)).get_single_data()
    except _RefusedError as error:
        raise FspoError(f"{source}: line {error.line}: {error}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        problem = cut(" ".join(part for part in (error.context, error.problem) if part))
        raise FspoError(f"{source}: {line}this is not YAML: {problem}") from error
    except ReaderError as error:
        sign = f"U+{error.character:04X}"
        raise FspoError(
            f"{source}: line {line_of(text, error.position)}: this is not YAML: it may not hold "
            f"the character {sign}; remove it"
        ) from error
    return value


class _RefusedError(Exception):
    def __init__(self, mark: Any, fault: str) -> None:
        super().__init__(fault)
        self.line = mark.line + 1


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = 0  # how many lists and keys the next value stands in
        self._measured: dict[int, tuple[int, int]] = {}  # a node's id -> its depth and its size

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._open >= _DEPTH:
            raise _RefusedError(event.start_mark, _TOO_DEEP)
        self._open += 1
        node = super().compose_node(parent, index)
        self._open -= 1
        if node is None:
            return None
        if id(node) not in self._measured:
            if isinstance(event, AliasEvent):  # of what has not ended yet
                raise _RefusedError(event.start_mark, "holds an alias (*) of what it stands in")
            self._measured[id(node)] = self._measure(node)
        depth, size = self._measured[id(node)]
        if self._open + depth > _DEPTH:
            raise _RefusedError(event.start_mark, _TOO_DEEP)
        if size > _SIZE and self.anchors:
            fault = "with its aliases (*) this is too large; write it out, or make it shorter"
            raise _RefusedError(event.start_mark, fault)
        return node

    def _measure(self, node: Node) -> tuple[int, int]:
        """Returns how deep a node is, and how large: from what is in it, measured before."""
        if isinstance(node, ScalarNode):
            return 1, 1 + len(node.value) // 100
        if isinstance(node, MappingNode):
            _check_keys(node)
            inner = [one for pair in node.value for one in pair]
        else:
            inner = node.value
        measured = [self._measured[id(one)] for one in inner]
        deepest = max((depth for depth, _ in measured), default=0)
        return 1 + deepest, 1 + sum(size for _, size in measured)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            # What was tagged, such as `!!int`, and is not.
            kind = node.tag.removeprefix(_TAG)
            value = excerpt(node.value) if isinstance(node, ScalarNode) else "this"
            raise _RefusedError(node.start_mark, f"{value} cannot be read as {kind}") from error

    def construct_scalar(self, node: ScalarNode | MappingNode) -> Any:
        value = super().construct_scalar(node)
        return value.translate(_ENDS) if isinstance(value, str) else value


def _check_keys(node: MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise _RefusedError(key.start_mark, "a list or further keys stand where a key should")
        name = excerpt(key.value)
        if key.tag not in (_TAG + "str", _TAG + "merge"):
            raise _RefusedError(
                key.start_mark,
                f"the key {name} is read as {_read_as(key)}, and a key has to be text: put it in "
                "quotes",
            )
        if key.value in lines:
            raise _RefusedError(
                key.start_mark,
                f"the key {name} stands here a second time, after line {lines[key.value]}; "
                "remove one of them",
            )
        lines[key.value] = key.start_mark.line + 1


def _read_as(node: ScalarNode) -> str:
    if node.tag == _TAG + "bool":
        return "true" if node.value.lower() in ("yes", "on", "true") else "false"
    return "nothing" if node.tag == _TAG + "null" else "a number"


def _whole(loader: _Loader, node: ScalarNode) -> int:
    text = str(node.value)
    if re.fullmatch(r"[-+]?0[0-9_]+", text):
        raise _RefusedError(
            node.start_mark,
            f"{cut(text, 40)} has a leading zero, and YAML would read it as another number: put "
            "it in quotes if it is text, or take the zero away",
        )
    if len(text) > 1000:
        fault = f"a number of {len(text):,} digits; nothing here is so large"
        raise _RefusedError(node.start_mark, fault)
    return int(text.replace("_", ""), 0)


_KEPT = {"bool", "null", "merge"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.removeprefix(_TAG) in _KEPT]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _TAG + "int",
    re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|0[0-7_]*|[1-9][0-9_]*)\Z"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*\.[0-9_]*)([eE][-+]?[0-9]+)?\Z"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+\Z"
        r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
    ),
    list("-+.0123456789"),
)
_PLAIN = {"null", "bool", "float", "str", "seq", "map"}
_Loader.yaml_constructors = {
    tag: build
    for tag, build in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in _PLAIN
}
_Loader.add_constructor(_TAG + "int", _whole)
