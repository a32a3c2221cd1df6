"""Cancel, retry, pause, delete, notes and tags, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select

from dsd.errors import DsdError, UsageError
from dsd.store import queue, steer
from dsd.store.engine import Store, open_store, reading
from dsd.store.notes import add_note, add_tags, find_subject, notes_of, remove_tags, runs_tagged
from dsd.store.populations import populations, save_sample
from dsd.store.results import frame
from dsd.store.runs import at_work, one_run, wanted_by
from dsd.store.schema import Base, Note, Run


@pytest.fixture
def owner(store: Store) -> str:
    return queue.register_worker(store, "cpu")


def claim(store: Store, owner: str, **given: Any) -> queue.Claim:
    held = queue.claim(store, owner, **given)
    assert held is not None
    return held


def counts(store: Store) -> dict[str, int]:
    with reading(store) as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
        }


def test_a_cancelled_run_takes_no_word_and_keeps_it_apart(store: Store, owner: str, draw: Any):
    save_sample(store, draw(3))
    held = claim(store, owner)
    runs = frame(store)["run"].tolist()
    assert steer.cancel(store, runs[:2]) == {"queued": 1, "running": 1}
    assert steer.cancel(store, runs[:2]) == {"queued": 0, "running": 0}
    assert not queue.beat(store, held)
    assert not queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    assert frame(store)["state"].tolist() == ["cancelled", "cancelled", "queued"]
    assert one_run(store, held.run_id)["late_results"][0]["result"]["error_last"] == 1.0


def test_a_retry_counts_attempts_anew_and_keeps_what_was_said(store: Store, owner: str, draw: Any):
    save_sample(store, draw(1))
    for attempt in (1, 2):
        held = claim(store, owner, max_attempts=1)
        assert held.attempt == attempt
        queue.fail(store, held, message=f"crash {attempt}", trace="Traceback")
        assert steer.retry(store, [held.run_id])["failed"] == 1
    run = one_run(store, held.run_id)
    assert (run["state"], run["message"], run["attempts"]) == ("queued", None, 2)
    assert [note["text"] for note in run["notes"]] == ["attempt 1: crash 1", "attempt 2: crash 2"]


@pytest.mark.parametrize("state", ["done", "diverged"])
def test_a_result_is_never_trained_again(store: Store, owner: str, draw: Any, state: str):
    save_sample(store, draw(1))
    held = claim(store, owner)
    queue.finish(store, held, state=state, error_last=1.0, error_lowest=1.0)
    assert not any(steer.retry(store, [held.run_id]).values())
    assert not any(steer.cancel(store, [held.run_id]).values())
    assert frame(store)["state"].tolist() == [state]


def test_a_paused_population_waits_but_shared_networks_do_not(store: Store, owner: str, draw: Any):
    save_sample(store, draw(4, "one", stream="same"))
    save_sample(store, draw(2, "two", stream="same"))
    one, two = populations(store)
    assert steer.pause(store, [one]) == 1
    assert steer.pause(store, [one]) == 0
    assert queue.pending(store) == 2
    taken = [claim(store, owner) for _ in range(2)]
    assert queue.claim(store, owner) is None
    assert {c.digest for c in taken} == set(frame(store, [two])["digest"])
    save_sample(store, draw(5, "one", stream="same"))  # what comes later waits, too
    assert queue.claim(store, owner) is None
    assert queue.beat(store, taken[0]), "what runs goes on"
    assert steer.resume(store) == 1
    assert queue.pending(store) == 5
    assert claim(store, owner).digest == frame(store, [one])["digest"][2]


def test_a_paused_network_is_freed_by_another_population(store: Store, owner: str, draw: Any):
    save_sample(store, draw(2, "one", stream="same"))
    steer.pause(store)
    assert queue.claim(store, owner) is None
    save_sample(store, draw(1, "two", stream="same"))
    assert claim(store, owner)
    assert queue.claim(store, owner) is None


def test_deleting_takes_only_what_nothing_else_wants(store: Store, owner: str, draw: Any):
    before = counts(store)
    save_sample(store, draw(4, "one", stream="same"))
    save_sample(store, draw(2, "two", stream="same"))
    held = claim(store, owner)
    queue.record_epoch(store, held, {"epoch": 1, "train_loss": 1.0})
    queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    one, two = populations(store)
    only_one = frame(store, [one])["run"].tolist()[2]
    add_note(store, find_subject(store, str(only_one)), "odd", "ann")
    add_tags(store, find_subject(store, one.name), ["old"])
    assert steer.delete_population(store, one) == {"networks": 4, "runs": 2}
    assert frame(store)["state"].tolist() == ["done", "queued"]
    assert populations(store) == [two]
    assert steer.delete_population(store, two) == {"networks": 2, "runs": 2}
    assert counts(store) == {**before, "workers": 1}
    save_sample(store, draw(3, "one", stream="other"))  # the name is free


def test_nothing_is_deleted_while_it_is_trained(store: Store, owner: str, draw: Any):
    save_sample(store, draw(2))
    claim(store, owner)
    before = counts(store)
    with pytest.raises(DsdError, match="1 networks of wide@fashion#0 are running: `dsd cancel"):
        steer.delete_population(store, populations(store)[0])
    assert counts(store) == before


def test_notes_and_tags_find_their_subject(store: Store, draw: Any):
    save_sample(store, draw(1, "wide"))
    save_sample(store, draw(1, "wide", seed=1))
    run = find_subject(store, str(frame(store)["run"][0]))
    add_note(store, run, "first", "ann")
    add_note(store, run, "second", "bob")
    assert [(n["text"], n["author"]) for n in notes_of(store, run)] == [
        ("first", "ann"), ("second", "bob"),
    ]  # fmt: skip
    add_tags(store, run, ["odd", "new"])
    add_tags(store, run, ["odd"])
    assert runs_tagged(store, "odd") == {run.id}
    assert one_run(store, run.id)["tags"] == ["new", "odd"]
    assert remove_tags(store, run, ["odd", "none"]) == 1
    with pytest.raises(UsageError, match="Nothing here has the tag 'odd'"):
        runs_tagged(store, "odd")
    add_tags(store, find_subject(store, "wide#1"), ["all"])
    assert runs_tagged(store, "all") == {int(frame(store)["run"][1])}
    with pytest.raises(UsageError, match="2 populations"):
        find_subject(store, "wide")
    with pytest.raises(UsageError, match="cannot be a tag"):
        add_tags(store, run, ["a b"])
    for unknown in ("999999", "99999999999999999999", "²", "narrow"):
        with pytest.raises(DsdError):
            find_subject(store, unknown)


def test_a_retry_and_a_claim_never_both_win(store: Store, owner: str, draw: Any):
    """Whatever the order: a run that is claimed again is not thrown back by a late retry."""
    save_sample(store, draw(1))
    held = claim(store, owner)
    queue.fail(store, held, message="crash")
    steer.retry(store, [held.run_id])
    again = claim(store, owner)
    assert not any(steer.retry(store, [again.run_id]).values())
    assert queue.finish(store, again, error_last=2.0, error_lowest=2.0)
    with reading(store) as connection:
        assert connection.execute(select(Run.state)).scalar_one() == "done"


def test_what_is_left_to_a_paused_population_waits_at_its_place(
    store: Store, owner: str, draw: Any
):
    save_sample(store, draw(3, "one", stream="same"))
    other = draw(3, "two", stream="same")
    other.archs, other.draws = other.archs[::-1], other.draws[::-1]
    save_sample(store, other)
    one, two = populations(store)
    steer.pause(store, [two])
    steer.delete_population(store, one)
    assert queue.claim(store, owner) is None
    assert steer.held_back(store) == steer.held_back(store, [two]) == 3
    steer.resume(store)
    taken = [claim(store, owner).digest for _ in range(3)]
    assert taken == frame(store, [two])["digest"].tolist()


def test_a_late_word_on_a_deleted_run_is_not_put_to_another(store: Store, owner: str, draw: Any):
    save_sample(store, draw(1, "one"))
    held = claim(store, owner)
    steer.cancel(store, [held.run_id])
    steer.delete_population(store, populations(store)[0])
    save_sample(store, draw(1, "two"))  # on SQLite its run has the same id
    assert not queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    (run,) = frame(store)["run"].tolist()
    assert one_run(store, run)["late_results"] == []
    with pytest.raises(DsdError, match="deleted already"):
        steer.delete_population(store, type(populations(store)[0])(9, "one", "fashion", 0, 1))


def test_who_works_on_a_run_and_who_wants_it(store: Store, owner: str, draw: Any):
    save_sample(store, draw(3, "one", stream="same"))
    save_sample(store, draw(2, "two", stream="same"))
    held = claim(store, owner)
    ((run, (who, age)),) = at_work(store).items()
    assert (run, who) == (held.run_id, owner)
    assert 0 <= age < 60
    runs = frame(store, [populations(store)[0]])["run"].tolist()
    assert wanted_by(store, runs) == {"one@fashion#0": 3, "two@fashion#0": 2}
    assert wanted_by(store, runs[2:]) == {"one@fashion#0": 1}


class Meeting:
    """Two processes at once: while the first is about to commit, the second acts."""

    def __init__(self, url: str) -> None:
        self.first = open_store(url)

    def __call__(self, first: Callable[[Store], Any], second: Callable[[], Any]) -> None:
        about_to_commit = threading.Event()

        def linger(_: Any) -> None:
            about_to_commit.set()
            time.sleep(0.25)  # the second is to get as far as it can meanwhile

        event.listen(self.first.write, "commit", linger, once=True)
        thread = threading.Thread(target=first, args=(self.first,))
        thread.start()
        try:
            assert about_to_commit.wait(10)
            second()
        finally:
            thread.join(10)
            self.first.close()


@pytest.fixture
def meeting(url: str) -> Meeting:
    return Meeting(url)


def test_a_pause_meets_a_sample_that_shares_networks(store: Store, meeting: Meeting, draw: Any):
    save_sample(store, draw(3, "one", stream="same"))
    (one,) = populations(store)
    other = draw(2, "two", stream="same")
    meeting(lambda first: save_sample(first, other), lambda: steer.pause(store, [one]))
    assert (queue.pending(store), steer.held_back(store)) == (2, 1)


def test_a_deletion_meets_a_sample_that_shares_networks(store: Store, meeting: Meeting, draw: Any):
    save_sample(store, draw(3, "one", stream="same"))
    save_sample(store, draw(3, "one", seed=1, stream="same"))
    one = populations(store)[0]
    other = draw(2, "two", stream="same")
    meeting(lambda first: save_sample(first, other), lambda: steer.delete_population(store, one))
    assert frame(store, [populations(store)[1]])["state"].tolist() == ["queued"] * 2


def test_a_deletion_meets_a_claim(store: Store, meeting: Meeting, owner: str, draw: Any):
    save_sample(store, draw(2))
    (population,) = populations(store)

    def delete() -> None:
        with pytest.raises(DsdError, match="1 networks of wide@fashion#0 are running"):
            steer.delete_population(store, population)

    meeting(lambda first: claim(first, owner), delete)
    assert frame(store)["state"].tolist() == ["running", "queued"]


def test_a_cancel_meets_a_release(store: Store, meeting: Meeting, owner: str, draw: Any):
    save_sample(store, draw(1))
    held = claim(store, owner)
    meeting(lambda first: queue.release(first, held), lambda: steer.cancel(store, [held.run_id]))
    assert frame(store)["state"].tolist() == ["cancelled"]


def test_two_retries_at_once_are_one(store: Store, meeting: Meeting, owner: str, draw: Any):
    save_sample(store, draw(1))
    held = claim(store, owner)
    queue.fail(store, held, message="crash")
    runs = [held.run_id]
    meeting(lambda first: steer.retry(first, runs), lambda: steer.retry(store, runs))
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(Note)).scalar_one() == 1
