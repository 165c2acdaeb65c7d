"""`andthen rules`: the rules in force."""

from __future__ import annotations

from then.cli.settings import Settings, command


@command("rules")
def command_(settings: Settings) -> None:
    """Lists the rules that a new flow would stand under, in the order in which they are tried; then the breakpoints in them."""
    from then.app.reading import open_reading
    from then.cli.listing import print_object, print_table
    from then.cli.showing import point_object, rule_object, when_text

    with open_reading(settings.folder) as reading:
        rules = reading.rules()
        if settings.is_json:
            for rule in rules.set.rules:
                print_object({**rule_object(rule), "version": rules.version})
            for point in rules.set.breakpoints.values():
                print_object({**point_object(point), "version": rules.version})
            return
        rows = [
            (rule.name, when_text(rule), "final" if rule.final else "", str(rule.span) if rule.span is not None else "")
            for rule in rules.set.rules
        ]
        for point in rules.set.breakpoints.values():
            shown = point_object(point)
            rows.append((point.name, shown["text"], shown["kind"], shown["place"] or ""))
        print_table(("RULE", "WHEN", "", "PLACE"), rows)
