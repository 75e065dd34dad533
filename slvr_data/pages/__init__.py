"""The HTML pages that the toolkit writes: one file each, no network, no scripts needed to read them.

All pages share the look of `base.html.j2`. A new page is a template beside it and a function that renders
it with `slvr_data.pages.render.render`:

    {% extends "base.html.j2" %}
    {% block style %}.mine { ... }{% endblock %}
    {% block main %}<h2>...</h2> ...{% endblock %}
    {% block script %}<script>...</script>{% endblock %}

The base wants `title`, `subtitle`, `facts` (pairs of name and value for the header's table), `command` (the
line that made the page) and `configuration` (the resolved configuration as text, or None). It offers to
every page the colours `--paper --sheet --ink --soft --line --accent --tint --good --bad --badtint`, light
and dark, and the classes `sheet` (a framed block), `soft` (muted), `scroll` (around a table that may be
wider than a phone), `pill` with `good`/`bad`, and `long` (text that breaks anywhere).

Every value is escaped (autoescape is on for every template); text of unknown direction goes into `<bdi>`,
pictures through `data_url`, data for scripts through `script_json`. The base forbids the browser to load
anything that is not in the page (Content-Security-Policy), so a page cannot come to depend on a network.
"""
