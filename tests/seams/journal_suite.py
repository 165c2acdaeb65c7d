"""The law of `then.abc.Journal`, run over each journal there is.

A module of this folder binds one: it subclasses `JournalSuite` and gives the
fixture `journal`, open and empty.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from then.abc import Cell, Entry, Journal
from then.core.errors import InternalError, JournalError


def entry(seq: int) -> Entry:
    return Entry(seq, b"fact %d" % seq)


def entries(first: int, last: int) -> list[Entry]:
    return [entry(seq) for seq in range(first, last + 1)]


def seqs(journal: Journal, after: int = 0, upto: int | None = None) -> list[int]:
    return [found.seq for found in journal.read(after, upto)]


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["", "a", "a\0", "a\0b", "ab", "b", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff", "\U0010ffffa"]
)
# Each test is made once and inherited, and takes the journal it finds as it is;
# examples are not stored, so that none is replayed on another journal.
ON_ANY_JOURNAL = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)

CELLS = st.lists(
    st.builds(Cell, st.sampled_from(["task", "flow"]), KEYS, st.none() | st.binary(max_size=6)), max_size=6
)


class JournalSuite:
    @pytest.fixture
    def journal(self) -> Iterator[Journal]:
        raise NotImplementedError

    def test_a_new_journal_is_empty(self, journal: Journal) -> None:
        assert journal.last == 0
        assert list(journal.read()) == []
        assert list(journal.cells("task")) == []

    def test_entries_are_read_back_in_order(self, journal: Journal) -> None:
        journal.append([entry(1)])
        journal.append(entries(2, 4))
        journal.append((entry(5),))
        assert journal.last == 5
        assert list(journal.read()) == entries(1, 5)

    def test_a_reading_begins_after_one_seq_and_ends_with_another(self, journal: Journal) -> None:
        journal.append(entries(1, 9))
        assert seqs(journal, 3, 6) == [4, 5, 6]
        assert seqs(journal, after=8) == [9]
        assert seqs(journal, upto=2) == [1, 2]
        assert seqs(journal, 6, 6) == []
        assert seqs(journal, after=9) == []

    def test_a_reading_goes_over_many_pages(self, journal: Journal) -> None:
        journal.append(entries(1, 3456))
        assert list(journal.read()) == entries(1, 3456)
        assert seqs(journal, 1, 2001) == list(range(2, 2002))

    def test_a_reading_meets_what_is_appended_while_it_goes_on(self, journal: Journal) -> None:
        journal.append(entries(1, 1500))
        reading = journal.read()
        next(reading)
        journal.append(entries(1501, 1600))
        assert [found.seq for found in reading] == list(range(2, 1601))

    def test_a_reading_left_in_the_middle_hinders_nobody(self, journal: Journal) -> None:
        journal.append(entries(1, 10))
        left = journal.read()
        next(left)
        journal.append(entries(11, 20), [Cell("task", "a", b"1")])
        journal.prune([1, 2, 3])
        assert seqs(journal) == list(range(4, 21))

    def test_entries_that_do_not_follow_are_refused_and_nothing_of_them_is_kept(self, journal: Journal) -> None:
        journal.append(entries(1, 2))
        for wrong in ([entry(2)], [entry(4)], [entry(3), entry(5)], [entry(3), entry(3)], [entry(4), entry(3)]):
            with pytest.raises(InternalError, match="must follow"):
                journal.append(wrong, [Cell("task", "a", b"1")])
            with pytest.raises(InternalError, match="must follow"):
                journal.append(wrong)
        assert list(journal.read()) == entries(1, 2)
        assert list(journal.cells("task")) == []
        journal.append([entry(3)])

    def test_an_append_of_nothing_does_nothing(self, journal: Journal) -> None:
        journal.append([])
        journal.append((), iter(()))
        assert journal.last == 0

    @pytest.mark.parametrize("size_bytes", [0, 1, 4000, 70_000, 3_000_000])
    def test_an_entry_may_have_any_size(self, journal: Journal, size_bytes: int) -> None:
        data = bytes(range(256)) * (size_bytes // 256 + 1)
        journal.append([Entry(1, data[:size_bytes]), Entry(2, b"next")])
        journal.append([Entry(3, data[:size_bytes])])
        assert [found.data for found in journal.read()] == [data[:size_bytes], b"next", data[:size_bytes]]

    def test_an_entry_of_ten_megabytes_and_its_cell_come_back_whole(self, journal: Journal) -> None:
        data = bytes(range(250)) * 40_000
        journal.append([Entry(1, data)], [Cell("task", "big", data)])
        assert next(journal.read()).data == data
        assert list(journal.cells("task")) == [("big", data)]

    def test_cells_are_written_with_entries_and_without(self, journal: Journal) -> None:
        journal.append([entry(1)], [Cell("task", "b", b"2"), Cell("flow", "f", b"3")])
        journal.append([], [Cell("task", "a", b"1")])
        assert list(journal.cells("task")) == [("a", b"1"), ("b", b"2")]
        assert list(journal.cells("flow")) == [("f", b"3")]
        assert list(journal.cells("other")) == []
        assert journal.last == 1

    def test_a_cell_is_overwritten_and_taken_away(self, journal: Journal) -> None:
        journal.append([], [Cell("task", "a", b"1"), Cell("task", "b", b"1")])
        journal.append([], [Cell("task", "a", b"2"), Cell("task", "b", None), Cell("task", "never", None)])
        assert list(journal.cells("task")) == [("a", b"2")]

    def test_of_several_cells_of_one_key_in_a_batch_the_last_holds(self, journal: Journal) -> None:
        journal.append([], [Cell("task", "a", b"1"), Cell("task", "a", None), Cell("task", "b", None)])
        journal.append([], [Cell("task", "b", b"1"), Cell("task", "b", b"2"), Cell("task", "a", None)])
        journal.append([], [Cell("task", "c", None), Cell("task", "c", b"3")])
        assert list(journal.cells("task")) == [("b", b"2"), ("c", b"3")]

    def test_cells_come_in_the_order_of_their_keys_over_many_pages(self, journal: Journal) -> None:
        keys = [f"{number:05}" for number in range(2500)]
        journal.append([], [Cell("task", key, key.encode()) for key in reversed(keys)])
        assert [key for key, _ in journal.cells("task")] == keys
        assert [key for key, _ in journal.cells("task", "01")] == keys[1000:2000]

    @settings(max_examples=60, suppress_health_check=ON_ANY_JOURNAL, database=None)
    @given(keys=st.lists(KEYS, max_size=12), prefix=KEYS)
    def test_a_prefix_finds_exactly_the_keys_that_begin_so(
        self, journal: Journal, keys: list[str], prefix: str
    ) -> None:
        journal.append([], [Cell("task", key, None) for key, _ in journal.cells("task")])
        journal.append([], [Cell("task", key, key.encode()) for key in keys])
        expected = sorted((key, key.encode()) for key in set(keys) if key.startswith(prefix))
        assert list(journal.cells("task", prefix)) == expected

    def test_half_of_a_surrogate_pair_is_no_key(self, journal: Journal) -> None:
        with pytest.raises(UnicodeEncodeError):
            journal.append([entry(1)], [Cell("task", "a", b"1"), Cell("task", "\ud800", b"1")])
        assert journal.last == 0
        assert list(journal.cells("task")) == []
        journal.append([entry(1)], [Cell("task", "a", b"1")])

    def test_a_batch_whose_cells_break_off_leaves_nothing(self, journal: Journal) -> None:
        def cells() -> Iterator[Cell]:
            yield Cell("task", "a", b"1")
            raise KeyError("broke off")

        with pytest.raises(KeyError):
            journal.append([entry(1)], cells())
        assert journal.last == 0
        assert list(journal.read()) == []
        assert list(journal.cells("task")) == []
        journal.append([entry(1)])

    def test_what_is_pruned_is_gone_and_the_rest_keeps_its_seqs(self, journal: Journal) -> None:
        journal.append(entries(1, 20), [Cell("past", "a", b"1")])
        journal.prune([1, 2, 3, 7, 11, 12, 99], [Cell("past", "a", None), Cell("past", "b", b"2")])
        assert seqs(journal) == [4, 5, 6, 8, 9, 10, *range(13, 21)]
        assert list(journal.cells("past")) == [("b", b"2")]
        assert journal.last == 20
        journal.append([entry(21)])

    def test_a_seq_is_never_given_twice_even_where_the_newest_was_pruned(self, journal: Journal) -> None:
        journal.append(entries(1, 5))
        journal.prune(range(1, 6))
        assert seqs(journal) == []
        assert journal.last == 5
        journal.append([entry(6)])
        assert seqs(journal) == [6]

    def test_another_thread_reads_only_whole_batches(self, journal: Journal) -> None:
        # The cell says how many entries there are; read first, it can only be behind.
        seen: list[tuple[int, int]] = []
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                told = dict(journal.cells("meta")).get("count", b"0")
                seen.append((int(told), len(seqs(journal))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        for batch in range(60):
            journal.append(entries(batch * 5 + 1, batch * 5 + 5), [Cell("meta", "count", b"%d" % (batch * 5 + 5))])
        done.set()
        watcher.join()
        assert all(told <= found and found % 5 == 0 for told, found in seen)

    def test_a_closed_journal_says_so(self, journal: Journal) -> None:
        journal.append([entry(1)])
        journal.close()
        journal.close()
        for use in (
            lambda: journal.append([entry(2)]),
            lambda: journal.prune([1]),
            lambda: list(journal.read()),
            lambda: list(journal.cells("task")),
        ):
            with pytest.raises(JournalError, match="closed"):
                use()

    @settings(max_examples=40, suppress_health_check=ON_ANY_JOURNAL, database=None)
    @given(
        st.lists(
            st.tuples(st.just("append"), st.integers(0, 4), CELLS)
            | st.tuples(st.just("prune"), st.sets(st.integers(1, 30), max_size=8), CELLS),
            max_size=8,
        )
    )
    def test_it_is_what_a_dict_of_entries_and_one_of_cells_would_be(
        self, journal: Journal, steps: list[tuple[str, int | set[int], list[Cell]]]
    ) -> None:
        held = {found.seq: found.data for found in journal.read()}
        named = {(kind, key): data for kind in ("task", "flow") for key, data in journal.cells(kind)}
        for verb, what, cells in steps:
            if isinstance(what, int):
                assert verb == "append"
                new = entries(journal.last + 1, journal.last + what)
                journal.append(new, cells)
                held.update((found.seq, found.data) for found in new)
            else:
                journal.prune(what, cells)
                held = {seq: data for seq, data in held.items() if seq not in what}
            _put(named, cells)
            assert [(found.seq, found.data) for found in journal.read()] == sorted(held.items())
            for kind in ("task", "flow"):
                assert list(journal.cells(kind)) == sorted((key, named[k, key]) for k, key in named if k == kind)


def _put(named: dict[tuple[str, str], bytes], cells: Iterable[Cell]) -> None:
    for kind, key, data in cells:
        if data is None:
            named.pop((kind, key), None)
        else:
            named[kind, key] = data
