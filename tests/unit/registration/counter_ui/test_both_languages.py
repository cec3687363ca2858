"""Whatever a page says, it says in Dutch and in English; nothing is said in one of them only.

Looked at are the templates of the counter, of the demos of Wisecat+ and of the sign-in service, and the
texts in the code of the pages and of problems.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import Environment, nodes

from infra.local import issuer
from registration.adapters.messages import MESSAGE_TYPES
from registration.api.problems import PROBLEM_TYPES
from registration.counter_ui import i18n, sign_in_pages
from registration.domain.verdict import Mismatch, Reason
from shared.web import problem_handlers

ROOT = Path(__file__).parents[4]
COUNTER = ROOT / "services/registration/counter_ui"
CATALOGUE = ROOT / "infra/local/wisecat_pages"
CLASSES = frozenset(re.findall(r"\.([a-z-]+)", (COUNTER / "static/counter.css").read_text("utf-8")))
SIGN_IN = ROOT / "infra/local/issuer.py"
TEMPLATES = sorted((*(COUNTER / "templates").glob("*.html"), *CATALOGUE.glob("*.html"), SIGN_IN))
MODULES = sorted(
    (*COUNTER.glob("*.py"), ROOT / "infra/local/wisecat.py", *(ROOT / "shared/web").glob("*.py"))
)
NAMES = {
    *("Landelijk Lenen", "Wisecat", "plus", "demo", "Wisecat+ demo"),
    *("English", "Nederlands"),  # each language in its own words
    *("Sector", "Status", "Chip"),  # the same in both
    *("identity parked list", "acc-0991000001", "start", "ms"),  # a command, an id, a class, a unit
    'formaction="" formnovalidate',  # attributes
    "organisation_code,organisation,isil,updated_on,card_prefixes",  # columns
    "place",
}
MANUAL = {"gastleen abonnement"}
"""The words of the counter manual, which stay as they are in both languages (R13, R16)."""
SAID = re.compile(r'(?:aria-label|title|alt|placeholder|summary|label)="([^"{]*)"')
EXPRESSION = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
ATTRIBUTE = re.compile(r"\s[a-z-]+(=.*)?|[a-z?]+=.*|-[a-z]+\s?|/[a-z]*")
"""What an expression puts into a tag: an attribute, the end of an id, a path."""
VALUES = frozenset({"true", "false", "yes", "no"})
DUTCH = frozenset({"de", "het", "een", "niet", "van", "voor", "met", "wordt", "zijn", "naar", "deze", "kies"})
ENGLISH = frozenset({"the", "this", "not", "for", "with", "are", "to", "these", "choose", "patron", "card"})
"""Words that are in no sentence of the other language."""
Pair = tuple[str, str]


def pairs_in_template(path: Path) -> Iterator[tuple[str, ...]]:
    for call in _parsed(path).find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "translate" and not call.dyn_args:
            yield tuple(part for argument in call.args for part in [_constant(argument)] if part is not None)


def _constant(argument: nodes.Expr) -> str | None:
    return argument.value if isinstance(argument, nodes.Const) and isinstance(argument.value, str) else None


def _parsed(path: Path) -> nodes.Template:
    return Environment(autoescape=True).parse(_source(path))


def _source(path: Path) -> str:
    return issuer.TEMPLATE if path == SIGN_IN else path.read_text("utf-8")


def said_outside(path: Path) -> Iterator[str]:
    """The texts of a template that go to the page as they are: around its expressions, and in them."""
    source = STYLE.sub("", EXPRESSION.sub("", _source(path)))
    yield from SAID.findall(source)
    yield from TAG.split(source)
    for output in _parsed(path).find_all(nodes.Output):
        for shown in (each for part in output.nodes for each in _shown(part)):
            text = str(shown.value)
            if not ATTRIBUTE.fullmatch(text) and text not in CLASSES | VALUES:
                yield text
    for call in _parsed(path).find_all(nodes.Call):
        if not (isinstance(call.node, nodes.Name) and call.node.name == "translate"):
            given = (*call.args, *(keyword.value for keyword in call.kwargs))
            texts = filter(None, map(_constant, given))
            yield from (text for text in texts if re.search("[A-ZÀ-Ý]", text))


def _shown(part: nodes.Node) -> Iterator[nodes.Const]:
    """The constants of an expression that are shown: not those that are compared, chosen by or passed on."""
    match part:
        case nodes.Const():
            yield part
        case nodes.CondExpr():
            yield from _shown(part.expr1)
            if part.expr2 is not None:
                yield from _shown(part.expr2)
        case nodes.Add() | nodes.Or():
            yield from _shown(part.left)
            yield from _shown(part.right)
        case nodes.Concat():
            for each in part.nodes:
                yield from _shown(each)
        case nodes.Filter() if part.node is not None:
            yield from _shown(part.node)


def pairs_in_code(path: Path) -> Iterator[tuple[int, Pair]]:
    """Two texts side by side: of a call such as `notify`, of a `Problem`, of a table of texts."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="notify"), args=[_, dutch, english]):
                yield from _pair(node, dutch, english)
            case ast.Call(func=ast.Name(id="Problem"), args=[_, _, dutch, english, *_]):
                yield from _pair(node, dutch, english)
            case ast.Call(func=ast.Name(id="translate"), args=[dutch, english]):
                yield from _pair(node, dutch, english)
            case ast.Tuple(elts=[dutch, english]) if path.name in {"i18n.py", "problem_handlers.py"}:
                yield from _pair(node, dutch, english)


def _pair(node: ast.expr, *texts: ast.expr) -> Iterator[tuple[int, Pair]]:
    values = [text.value for text in texts if isinstance(text, ast.Constant)]
    if len(values) == 2 and all(isinstance(value, str) for value in values):
        yield node.lineno, (str(values[0]), str(values[1]))


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-zà-ÿ]+", text.lower()))


def faults_of(dutch: str, english: str) -> list[str]:
    """What is wrong with a pair: one is missing, or both are in one language."""
    if not dutch.strip() or not english.strip():
        return ["one of both is empty"]
    if dutch == english and " " in dutch:
        return ["both are the same"]
    return [
        *(f"English in the Dutch text: {word}" for word in words(dutch) & ENGLISH),
        *(f"Dutch in the English text: {word}" for word in words(english) & DUTCH),
    ]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_template_says_everything_in_both_languages(path: Path) -> None:
    for pair in pairs_in_template(path):
        assert len(pair) == 2, f"two constant texts: {pair}"
        assert faults_of(*pair) == [], pair
    outside = {text.strip(" –\n") for text in said_outside(path)}
    assert {text for text in outside if re.search(r"[A-Za-zÀ-ÿ]{2}", text)} - NAMES - MANUAL == set()


def test_the_code_says_everything_in_both_languages() -> None:
    found = [
        (f"{path.name}:{line}", pair, fault)
        for path in MODULES
        for line, pair in pairs_in_code(path)
        for fault in faults_of(*pair)
    ]
    assert found == []


def test_a_text_in_one_language_only_is_found() -> None:
    """So that the tests above can fail."""
    assert faults_of("De pas is niet geldig.", "The card is not valid.") == []
    for pair in (
        ("De pas is niet geldig.", ""),
        ("De pas is niet geldig.", "De pas is niet geldig."),
        ("The card is not valid.", "The card is not valid."),
        ("De pas", "Zoek de klant"),
    ):
        assert faults_of(*pair) != []


def test_every_code_that_can_be_shown_has_its_texts_and_no_text_is_left_over() -> None:
    topics = {topic.partition(".")[2] for topic in MESSAGE_TYPES}
    assert set(i18n.EVENT_TEXTS) == topics
    known = {*(reason.value for reason in Reason), *(reason.value for reason in Mismatch)}
    assert known - {"overig"} <= set(i18n.HOME_REASONS)


def test_every_next_step_belongs_to_a_problem() -> None:
    problems = {kind.code for kind in PROBLEM_TYPES.values()}
    problems |= {kind.code for kind in problem_handlers.SHARED_PROBLEM_TYPES.values()}
    code = "\n".join(path.read_text("utf-8") for path in (*MODULES, COUNTER / "sign_in_client.py"))
    unknown = {name for name in i18n.NEXT_STEPS if name not in problems and f'"{name}"' not in code}
    assert unknown == set()


def _keys_of(template: str, name: str) -> set[str]:
    """The keys of a table that a template sets."""
    for each in _parsed(COUNTER / "templates" / template).find_all(nodes.Assign):
        if isinstance(each.target, nodes.Name) and each.target.name == name:
            assert isinstance(each.node, nodes.Dict)
            return {str(pair.key.as_const()) for pair in each.node.items}
    raise AssertionError(f"{template} sets no {name}")


def test_every_page_and_every_tab_has_its_help() -> None:
    templates = {path.name for path in (COUNTER / "templates").glob("*.html")}
    pages = {name for name in templates if not name.startswith("_") or name.startswith("_tab_")}
    assert _keys_of("_help.html", "texts") == pages - {"base.html"}


def test_every_hint_can_be_switched_off() -> None:
    assert {*_keys_of("_hint.html", "hints"), "all"} == set(get_args(sign_in_pages.Hint))
