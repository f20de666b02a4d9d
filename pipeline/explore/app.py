"""The page of `phygitals explore`, as a marimo notebook: `marimo edit pipeline/explore/app.py` opens it for editing."""

import marimo

app = marimo.App(width="full", app_title="Phygitals: explore")


@app.cell
def _():
    import marimo as mo

    from pipeline.explore import listing, markup
    from pipeline.explore.controls import csv_button, panel, sort_buttons
    from pipeline.explore.edition import current_edition
    from pipeline.explore.figures import GROUPS_SHOWN, figures, group_count
    from pipeline.explore.images import picture
    from pipeline.explore.questions import QUESTIONS
    from pipeline.explore.rows import as_csv
    from pipeline.explore.selection import CHOICES, GROUPS, Selection, options
    from pipeline.explore.sql_cell import EXAMPLE, Refusal, answered
    from pipeline.steps import Workspace

    def html(markup):
        return mo.Html(str(markup))

    workspace = Workspace.open_for_reading()
    # Without a browser, `phygitals explore --export` runs this notebook and keeps its outputs.
    is_static = mo.app_meta().mode not in ("edit", "run")
    return (
        CHOICES,
        EXAMPLE,
        GROUPS,
        GROUPS_SHOWN,
        QUESTIONS,
        Refusal,
        Selection,
        answered,
        as_csv,
        csv_button,
        current_edition,
        figures,
        group_count,
        html,
        is_static,
        listing,
        markup,
        mo,
        options,
        panel,
        picture,
        sort_buttons,
        workspace,
    )


@app.cell
def _(current_edition, mo, workspace):
    get_edition, set_edition = mo.state(current_edition(workspace.data))
    get_order, set_order = mo.state({}, allow_self_loops=True)
    get_pictured, set_pictured = mo.state(None)
    return get_edition, get_order, get_pictured, set_edition, set_order, set_pictured


@app.cell
def _(get_edition, html, listing, markup, mo, workspace):
    edition = get_edition()
    html(markup.style() + listing.heading(edition.cursor(), workspace.settings.env))
    return (edition,)


@app.cell
def _(is_static, mo):
    ticks = mo.ui.refresh(default_interval="15s", label="Looks for newer data every")
    return (ticks,)


@app.cell
def _(current_edition, edition, is_static, mo, set_edition, ticks, workspace):
    ticks.value
    reload_button = mo.ui.button(
        label="Reload", kind="success", on_change=lambda _: set_edition(current_edition(workspace.data))
    )
    (
        mo.callout(mo.hstack(["Newer data was published.", reload_button], justify="start"), kind="success")
        if not is_static and edition.is_outdated()
        else None
    )
    return (reload_button,)


@app.cell
def _(CHOICES, edition, is_static, mo, options):
    known = options(edition.cursor())
    choice = mo.ui.dictionary(
        {words: mo.ui.multiselect(known.values[words], label=words.capitalize()) for words in CHOICES}
    )
    period = (
        mo.ui.date_range(
            start=known.first_day, stop=known.last_day, value=(known.first_day, known.last_day), label="Days (UTC)"
        )
        if known.first_day
        else None
    )
    user = mo.ui.text(label="User", placeholder="the whole id")
    (
        None
        if is_static
        else mo.hstack(
            [*([] if period is None else [period]), *choice.values(), user], wrap=True, justify="start", align="end"
        )
    )
    return choice, period, user


@app.cell
def _(CHOICES, Selection, choice, period, user):
    _first, _last = (None, None) if period is None else period.value
    selection = Selection(
        _first,
        _last,
        user.value.strip() or None,
        {CHOICES[words]: tuple(chosen) for words, chosen in choice.value.items()},
    )
    return (selection,)


@app.cell
def _(edition, figures, html, markup, mo, selection):
    html(markup.tiles(figures(edition.cursor(), selection)))
    return


@app.cell
def _(is_static, mo):
    view = mo.ui.radio(["Figures", "Pulls", "Questions", "SQL"], value="Figures", inline=True)
    None if is_static else view
    return (view,)


@app.cell
def _(GROUPS, is_static, mo, view):
    group_choice = mo.ui.dropdown(list(GROUPS), value="pack", allow_select_none=False, label="Group by")
    group_choice if view.value == "Figures" and not is_static else None
    return (group_choice,)


@app.cell
def _(
    GROUPS_SHOWN,
    csv_button,
    edition,
    figures,
    get_order,
    group_choice,
    group_count,
    is_static,
    listing,
    markup,
    mo,
    panel,
    selection,
    set_order,
    sort_buttons,
    view,
):
    def _shown():
        group = group_choice.value
        name, is_descending = get_order().get("figures", ("pull_count", True))
        rows = figures(edition.cursor(), selection, group)
        count = group_count(edition.cursor(), selection, group)
        buttons = sort_buttons(mo, rows.names, "figures", get_order(), set_order)
        note = f"{count:,} values" + (
            f", of which the {GROUPS_SHOWN:,} with the most pulls are shown" if count > GROUPS_SHOWN else ""
        )
        shown = markup.table(
            rows.sorted_by(name, is_descending),
            **({} if is_static else {"header": markup.sortable(buttons)}),
        )
        csv = csv_button(mo, "figures", lambda: listing.rows_as_csv(rows.sorted_by(name, is_descending)))
        return panel(mo, markup.heading(f"Figures by {group}", note), shown, csv, is_static), (
            buttons,
            csv,
        )

    _output, figure_controls = _shown() if view.value == "Figures" else (None, None)
    _output
    return (figure_controls,)


@app.cell
def _(is_static, mo, view):
    page_number = mo.ui.number(start=1, stop=100_000, step=1, value=1, label="Page")
    page_number if view.value == "Pulls" and not is_static else None
    return (page_number,)


@app.cell
def _(get_pictured, html, mo, picture, view):
    html(picture(get_pictured())) if view.value == "Pulls" and get_pictured() else None
    return


@app.cell
def _(
    csv_button,
    edition,
    get_order,
    is_static,
    listing,
    markup,
    mo,
    page_number,
    panel,
    selection,
    set_order,
    set_pictured,
    sort_buttons,
    view,
    workspace,
):
    def _shown():
        order = get_order().get("pulls", ("buyback_price_usd", True))
        found = listing.pulls(edition.cursor(), selection, order, page_number.value)
        buttons = sort_buttons(mo, found.rows.names, "pulls", get_order(), set_order)
        pictures = mo.ui.array(
            [
                mo.ui.button(
                    label="Image", disabled=link is None, on_change=lambda _, i=i: set_pictured(found.pictured(i))
                )
                for i, link in enumerate(found.links)
            ]
        )
        shown = (
            markup.table(found.rows)
            if is_static
            else markup.table(found.rows, markup.sortable(buttons), [markup.button(each) for each in pictures])
        )
        csv = csv_button(
            mo, "pulls", lambda: listing.pulls_as_csv(edition.cursor(), selection, order, workspace.data.memory_limit)
        )
        return panel(mo, markup.heading("Pulls", found.note), shown, csv, is_static), (
            buttons,
            pictures,
            csv,
        )

    _output, pull_controls = _shown() if view.value == "Pulls" or is_static else (None, None)
    _output
    return (pull_controls,)


@app.cell
def _(QUESTIONS, is_static, mo, view):
    question_choice = mo.ui.dropdown(
        {question.title: name for name, question in QUESTIONS.items()},
        value=next(iter(QUESTIONS.values())).title,
        allow_select_none=False,
        label="Question",
        full_width=True,
    )
    question_choice if view.value == "Questions" and not is_static else None
    return (question_choice,)


@app.cell
def _(
    QUESTIONS,
    as_csv,
    csv_button,
    edition,
    get_order,
    is_static,
    listing,
    markup,
    mo,
    panel,
    question_choice,
    set_order,
    sort_buttons,
    view,
    workspace,
):
    def _shown(name):
        question = QUESTIONS[name]
        rows = listing.answer(edition.cursor(), question.sql)
        buttons = sort_buttons(mo, rows.names, name, get_order(), set_order)
        ordered = rows.sorted_by(*get_order()[name]) if name in get_order() else rows
        shown = markup.table(ordered, **({} if is_static else {"header": markup.sortable(buttons)}))
        csv = csv_button(mo, name, lambda: as_csv(edition.cursor(), question.sql, None, workspace.data.memory_limit))
        return panel(mo, markup.heading(question.title, question.note, question.sql.strip()), shown, csv, is_static), (
            buttons,
            csv,
        )

    def _all():
        found = [_shown(name) for name in QUESTIONS]
        return mo.vstack([output for output, _ in found]), [controls for _, controls in found]

    _output, question_controls = (
        _all() if is_static else _shown(question_choice.value) if view.value == "Questions" else (None, None)
    )
    _output
    return (question_controls,)


@app.cell
def _(EXAMPLE, is_static, mo, view):
    sql_form = mo.ui.text_area(value=EXAMPLE, rows=6, full_width=True, label="SQL").form(
        submit_button_label="Run", bordered=False
    )
    sql_form if view.value == "SQL" and not is_static else None
    return (sql_form,)


@app.cell
def _(Refusal, answered, as_csv, csv_button, edition, html, markup, mo, sql_form, view, workspace):
    def _shown(sql):
        found = answered(edition, sql, workspace.data.memory_limit)
        if isinstance(found, Refusal):
            return html(markup.refusal(found.words)), None
        csv = csv_button(mo, "rows", lambda: as_csv(edition.cursor_for_users(), sql, None, workspace.data.memory_limit))
        return mo.vstack(
            [html(markup.table(found)), html(markup.count_of(found)), mo.hstack([csv], justify="start")]
        ), csv

    _output, sql_controls = _shown(sql_form.value) if view.value == "SQL" and sql_form.value else (None, None)
    _output
    return (sql_controls,)


@app.cell
def _(is_static, ticks):
    None if is_static else ticks
    return


if __name__ == "__main__":
    app.run()
