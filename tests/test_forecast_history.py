"""The long memory: true means, bounded, whole after restarts, robust against cut-off files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from routing.telemetry.io_telemetry import TelemetryFolder
from routing.telemetry.long_history import STEP_MS, LongHistory, Row, decode_blocks, encode_block
from routing.telemetry.second import EXTRA_FIELDS, FIELDS, Telemetry, numbers_of
from routing.types import LinkSample

DAY_MS = 86_400_000


def sample(time_ms, load=1_000, link=(1, 2), **extra):
    return Telemetry(*link, time_ms, 20_000, load, 100, 0, 5, 900, **extra)


def filled(minutes, links=((1, 2), (2, 1)), **sizes):
    history = LongHistory(**sizes)
    for minute in range(minutes):
        for second in (0, 20, 40):
            for link in links:
                history.add(sample(minute * STEP_MS + second * 1_000, minute + second, link))
    history.finish_before(minutes * STEP_MS)
    return history


def dump(history):
    return {link: history.of(link) for link in history.links()}


def test_a_row_holds_the_mean_of_its_minute():
    history = LongHistory()
    for second, load in ((1, 10), (30, 20), (59, 60)):
        history.add(sample(second * 1_000, load, packets=load, snr_cdb=1_200, ai_waiting=2))
    assert history.of((1, 2)) == []
    history.add(sample(STEP_MS + 1, 99))
    (row,) = history.of((1, 2))
    assert (row.time_ms, row.load_kbps, row.packets) == (0, 30, 30)
    assert (row.snr_cdb, row.ai_waiting, row.rate_kbps) == (1_200, 2, 20_000)


def test_a_plain_link_sample_counts_as_zero_in_the_senders_own_counters():
    plain = LinkSample(1, 2, 0, 20_000, 5, 0, 0, 0, 0)
    assert numbers_of(plain) == (5, 20_000, 0, 0, 0, 0) + (0,) * len(EXTRA_FIELDS)
    full = Telemetry(1, 2, 0, 20_000, 5, 0, 0, 0, 0, *range(1, 1 + len(EXTRA_FIELDS)))
    assert numbers_of(full)[6:] == tuple(range(1, 1 + len(EXTRA_FIELDS)))


def test_late_samples_are_refused_and_silence_ends_a_minute():
    history = LongHistory()
    assert history.add(sample(10 * STEP_MS))
    assert not history.add(sample(9 * STEP_MS))
    history.finish_before(11 * STEP_MS - 1)
    assert history.links() == []
    history.finish_before(11 * STEP_MS)
    assert [row.time_ms for row in history.of((1, 2))] == [10 * STEP_MS]
    assert not history.add(sample(10 * STEP_MS + 5))


def test_rows_and_links_are_bounded():
    history = filled(100, keep=16, max_links=1)
    assert history.links() == [(1, 2)]
    assert [row.time_ms // STEP_MS for row in history.of((1, 2))] == list(range(84, 100))


def test_links_that_fell_silent_are_forgotten():
    history = filled(3)
    history.add(sample(9 * STEP_MS, link=(2, 1)))
    history.forget_before(8 * STEP_MS)
    assert history.links() == [(2, 1)]


def test_sizes_that_hold_nothing_are_refused():
    with pytest.raises(ValueError, match="keep, max_links, step_ms"):
        LongHistory(keep=0)


NUMBERS = st.tuples(*[st.integers(0, 2**32 - 1)] * len(FIELDS))
ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, 2**48),
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        NUMBERS,
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(ROWS, ROWS, st.data())
def test_blocks_read_back_and_a_damaged_one_ends_the_reading(first, second, data):
    start, whole = encode_block(first), encode_block(first) + encode_block(second)
    assert decode_blocks(whole) == (first + second, len(whole))
    cut = data.draw(st.integers(len(start), len(whole) - 1))
    assert decode_blocks(whole[:cut]) == (first, len(start))
    spoilt = bytearray(whole)
    spoilt[data.draw(st.integers(len(start), len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert decode_blocks(bytes(spoilt)) == (first, len(start))


def test_a_restart_forgets_nothing_that_was_finished(tmp_path):
    history, folder = filled(30), TelemetryFolder(tmp_path)
    assert folder.save(history, 30 * STEP_MS) == 60
    assert folder.save(history, 30 * STEP_MS) == 0
    again = LongHistory()
    assert TelemetryFolder(tmp_path).load(again) == 60
    assert dump(again) == dump(history)
    again.add(sample(31 * STEP_MS))
    assert TelemetryFolder(tmp_path).save(again, 32 * STEP_MS) == 1


@pytest.mark.parametrize("lost", [1, 7, 200])
def test_after_a_crash_while_writing_the_file_is_mended_and_goes_on(tmp_path, lost):
    history, folder = filled(5), TelemetryFolder(tmp_path)
    folder.save(history, 5 * STEP_MS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for second in (0, 30):
        history.add(sample(6 * STEP_MS + second * 1_000))
    folder.save(history, 7 * STEP_MS)
    path.write_bytes(path.read_bytes()[: max(len(whole), len(path.read_bytes()) - lost)])
    again = LongHistory()
    assert TelemetryFolder(tmp_path).load(again) == 10
    assert path.read_bytes() == whole
    again.add(sample(8 * STEP_MS))
    TelemetryFolder(tmp_path).save(again, 9 * STEP_MS)
    assert TelemetryFolder(tmp_path).load(LongHistory()) == 11


def test_old_days_are_deleted_and_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder, history = TelemetryFolder(tmp_path, keep_days=2), LongHistory()
    for day in range(6):
        history.add(sample(day * DAY_MS))
        folder.save(history, day * DAY_MS + STEP_MS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "3.wch", "4.wch", "5.wch", "notes.txt"
    ]


def test_a_folder_that_cannot_be_made_is_a_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"telemetry: .*; name a folder"):
        TelemetryFolder(tmp_path / "file" / "inner")
    with pytest.raises(UserError, match="keep_days"):
        TelemetryFolder(tmp_path, keep_days=0)
