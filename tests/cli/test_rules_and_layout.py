"""`check` and `fmt`: findings with their places, files in the one layout."""

from __future__ import annotations

from tests.cli.shell import RULES, Shell

WARNED = "event go()\nevent never()\nstart go()\n"
WRONG = (
    'event go()\ntask t(n: int) run process ["x"]\nrule r when go as g then t(m: 1)\nrule s when gone then t(n: 1)\n'
)
UNTIDY = 'event   go( n:int )   # why\nrule r when go then   hi()\ntask hi() run process ["true"]\n'


def test_findings_are_lines_with_places_and_errors_end_it_with_1(shell: Shell) -> None:
    shell.write("wrong.then", WRONG)
    said = shell("check", "wrong.then")
    assert said.code == 1
    heads = [line for line in said.out.splitlines() if line.startswith("wrong.then:")]
    assert [head.split(" ")[:2] for head in heads[-2:]] == [
        ["wrong.then:3:28:", "error"],
        ["wrong.then:4:13:", "error"],
    ]
    assert said.err.endswith("errors\n")
    assert not (shell.folder / ".then").exists()


def test_warnings_alone_are_no_failure(shell: Shell) -> None:
    shell.write("rules.then", WARNED)
    said = shell("check", "rules.then")
    assert (said.code, said.err) == (0, "1 warning\n")
    assert said.out.startswith("rules.then:2:7: warning T604: ")


def test_where_nothing_is_found_it_says_so(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    assert shell("check", "rules.py") == (0, "", "nothing found\n")


def test_as_json_a_finding_is_an_object(shell: Shell) -> None:
    shell.write("rules.then", WARNED)
    said = shell("check", "rules.then", "--json")
    assert said.code == 0
    assert said.err == ""
    (finding,) = said.objects
    message = finding.pop("message")
    hint = finding.pop("hint")
    assert finding == {
        "severity": "warning",
        "number": "T604",
        "file": "rules.then",
        "line": 2,
        "column": 7,
        "length": 5,
    }
    assert "never" in message + (hint or "")


def test_a_folder_without_rules_is_a_finding_and_no_folder_is_usage(shell: Shell) -> None:
    (shell.folder / "empty").mkdir()
    said = shell("check", "empty")
    assert said.code == 1
    assert 'no rules in the folder "empty"' in said.out
    assert shell("check", "absent") == (2, "", 'andthen: no file or folder "absent"\n')


def test_the_order_in_which_rules_are_tried_is_printed(shell: Shell) -> None:
    shell.write("project/b.then", 'use "a.then"\nrule last when go then hi()\n')
    shell.write("project/a.then", 'event go()\ntask hi() run process ["true"]\nfinal rule first when go then hi()\n')
    said = shell("check", "project", "--order", "--json")
    assert said.code == 0
    assert [(rule["name"], rule["final"]) for rule in said.objects] == [("first", True), ("last", False)]


def test_files_are_brought_into_the_layout_and_named(shell: Shell) -> None:
    path = shell.write("rules.then", UNTIDY)
    path.chmod(0o640)
    said = shell("fmt", "rules.then")
    assert (said.code, said.out) == (0, "rules.then\n")
    tidy = path.read_text()
    assert tidy.startswith("event go(n: int)  # why\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert shell("fmt", "rules.then") == (0, "", "")
    assert path.read_text() == tidy


def test_a_check_changes_nothing_and_ends_with_1(shell: Shell) -> None:
    path = shell.write("rules.then", UNTIDY)
    assert shell("fmt", "--check", "rules.then") == (1, "rules.then\n", "")
    assert path.read_text() == UNTIDY
    shell("fmt", "rules.then")
    assert shell("fmt", "--check", "rules.then") == (0, "", "")


def test_of_a_folder_all_files_below_it_but_hidden_ones(shell: Shell) -> None:
    for name in ("a.then", "deep/b.then", ".hidden/c.then", "other.txt"):
        shell.write(f"project/{name}", UNTIDY)
    assert shell("fmt", "project").out == "project/a.then\nproject/deep/b.then\n"
    assert (shell.folder / "project/.hidden/c.then").read_text() == UNTIDY


def test_what_is_no_text_of_the_language_is_left_alone_and_the_others_are_formatted(shell: Shell) -> None:
    shell.write("bad.then", "event event event\n")
    shell.write("good.then", UNTIDY)
    said = shell("fmt", "bad.then", "good.then")
    assert (said.code, said.out) == (2, "good.then\n")
    assert said.err.startswith("bad.then:1:")
    assert (shell.folder / "bad.then").read_text() == "event event event\n"


def test_standard_input_is_formatted_to_standard_output(shell: Shell) -> None:
    said = shell("fmt", "-", stdin=UNTIDY)
    assert said.code == 0
    assert said.out.startswith("event go(n: int)  # why\n")


def test_a_link_to_a_file_stays_a_link(shell: Shell) -> None:
    shell.write("real.then", UNTIDY)
    (shell.folder / "link.then").symlink_to("real.then")
    assert shell("fmt", "link.then").code == 0
    assert (shell.folder / "link.then").is_symlink()
    assert (shell.folder / "real.then").read_text().startswith("event go(n: int)")


def test_what_a_join_waits_for_is_listed_whole(shell: Shell) -> None:
    # It was its first part alone.
    shell.write(
        "joins.then",
        "event x(k: int)\nevent y(k: int)\ntask t(k: int)\n"
        "rule a when all of t done where k > 1, no x by k within 1h then t(k: 1)\n"
        "rule b when any of x as p, t failed or timed out as p by k within 1h then t(k: 1)\n"
        "rule c when 3 times x followed by y by k within 1h then t(k: 1)\n"
        "rule d when every t done by flow then t(k: 1)\n"
        "rule e when x by k quiet for 5m then t(k: 1)\n"
        "rule f when unmatched any then t(k: 1)\n",
    )
    said = shell("check", "joins.then", "--order", "--json").objects
    assert [rule["waits_for"] for rule in said if "waits_for" in rule] == [
        "all of t done where …, no x",
        "any of x, t failed or timed out",
        "3 times x followed by y",
        "every t done",
        "x quiet for 5m",
        "unmatched any cancelled or failed or timed out",
    ]
