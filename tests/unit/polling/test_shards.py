"""How sessions and limits are divided among polling shards."""

import pytest

from pipeline.polling.answers import Outcome
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Exit, Progress
from pipeline.polling.shards import Round, merged, sessions_of, shard_count, share_of, within_limits
from pipeline.settings import Settings, SettingsError


@pytest.fixture
def settings(configure):
    def load(**values):
        configure(**values)
        return Settings.load()

    return load


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_session_belongs_to_exactly_one_shard(count):
    sessions = PendingSessions.of([f"s{i}" for i in range(1000)], 5.0)
    shards = [sessions_of(sessions, shard, count) for shard in range(count)]
    found = [shard.session_id(i) for shard in shards for i in range(len(shard))]
    assert sorted(found) == sorted(f"s{i}" for i in range(1000))
    assert min(len(shard) for shard in shards) > 1000 / count / 2
    assert {at for shard in shards for at in shard.started_at} == {5.0}


@pytest.mark.parametrize(("ceiling", "count"), [(50, 4), (25, 3), (7, 7), (2.5, 2)])
def test_the_shares_of_the_limits_add_up_to_them_exactly(settings, ceiling, count):
    whole = settings(requests_per_second=ceiling, max_concurrency=161, poll_shards=count)
    shares = [share_of(whole, shard, count) for shard in range(count)]
    assert sum(share.rate_ceiling for share in shares) == int(ceiling)
    assert sum(share.max_concurrency for share in shares) == 161
    assert min(share.rate_ceiling for share in shares) >= 1


def test_a_ceiling_below_one_request_a_second_is_kept_whole_and_has_no_shares(settings):
    assert share_of(settings(requests_per_second=0.5), 0, 1).rate_ceiling == 0.5
    with pytest.raises(SettingsError, match="PHYGITALS_POLL_SHARDS=2 is refused: use at most 1,"):
        settings(requests_per_second=0.5, poll_shards=2)


def test_without_a_ceiling_no_shard_has_one(settings):
    whole = settings(requests_per_second=0, poll_shards=4)
    assert {share_of(whole, shard, 4).rate_ceiling for shard in range(4)} == {0.0}


@pytest.mark.parametrize(
    ("own", "of_round", "whole"),
    [(100, 40, 40), (40, 100, 40), (0, 40, 40), (40, 0, 40), (0, 0, 0), (3, 40, None), (0.5, 40, None)],
)
def test_a_shard_of_another_deployment_keeps_the_lower_ceiling(settings, own, of_round, whole):
    found = within_limits(settings(requests_per_second=own), Round("r", 4, 0.0, of_round, 160))
    if whole is None:  # a share of nothing is refused, because it would be no ceiling
        assert found is None
    else:
        assert found is not None
        assert sum(share_of(found, shard, 4).rate_ceiling for shard in range(4)) == whole


def test_a_shard_of_another_deployment_keeps_the_lower_number_of_requests_in_flight(settings):
    found = within_limits(settings(max_concurrency=10), Round("r", 4, 0.0, 0, 160))
    assert found is not None and found.max_concurrency == 10
    assert within_limits(settings(max_concurrency=3), Round("r", 4, 0.0, 0, 160)) is None


@pytest.mark.parametrize(
    ("values", "most"),
    [({"requests_per_second": 3, "poll_shards": 4}, 3), ({"max_concurrency": 2, "poll_shards": 3}, 2)],
)
def test_more_shards_than_a_limit_has_shares_are_refused(settings, values, most):
    with pytest.raises(SettingsError, match=f"PHYGITALS_POLL_SHARDS=. is refused: use at most {most}"):
        settings(**values)


def test_few_sessions_are_not_cut_into_many_shards(settings):
    whole = settings(poll_shards=4)
    assert [shard_count(whole, sessions) for sessions in (0, 50, 199, 200, 399, 10_000)] == [1, 1, 1, 2, 3, 4]


def test_the_progress_of_a_round_is_the_sum_of_its_shards():
    first, second = Progress(10, 5.0, 20, exit=Exit.ALL_FINAL), Progress(12, 7.0, 30, exit=Exit.BUDGET_USED)
    first.outcomes.update({Outcome.FULFILLED: 10})
    second.outcomes.update({Outcome.FULFILLED: 8, Outcome.PENDING: 22})
    whole = merged([first, second])
    assert (whole.total, whole.requests, whole.seconds, whole.pending) == (22, 50, 7.0, 4)
    assert whole.exit is Exit.BUDGET_USED
    assert merged([first, first]).exit is Exit.ALL_FINAL
