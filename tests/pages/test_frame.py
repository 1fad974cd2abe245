"""The frame around every page: what it adds, and what it does not let through."""

import sys

import pytest

import batchnorm
from batchnorm._pages import render
from batchnorm.errors import MissingExtraError

PARTS = {"parts": "{% macro shout(word) %}{{ word }}!{% endmacro %}"}


def test_a_page_has_its_blocks_in_the_frame_and_the_version():
    blocks = "".join(
        f"{{% block {name} %}}The {name}{{% endblock %}}" for name in ("title", "header", "main")
    )
    page = render("{% extends 'frame' %}" + blocks)
    assert page.startswith("<!doctype html>")
    assert "<title>The title" in page
    assert page.index("The header") < page.index("The main") < page.index(batchnorm.__version__)


def test_what_a_page_is_given_is_escaped():
    page = render(PARTS["parts"] + "{{ shout(word) }}", word="<b>")
    assert page == "&lt;b&gt;!"


def test_a_part_is_found_by_its_name():
    page = render('{% from "parts" import shout %}{{ shout("a") }}', PARTS)
    assert page == "a!"


def test_without_jinja_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"a page needs the package jinja2, .*\[lab\]"):
        render("")
