"""What is drawn, and the same as rows."""

from __future__ import annotations

from canned import flows
from multigrey_web.charts import by_day, delays, growth, traffic, trend

DAY = 86_400
COLUMNS = ["hour", "records", "origins", "octets", "deferred", "passed", "refused"]


def told(*samples):
    return {"columns": COLUMNS, "samples": [list(sample) for sample in samples], "every": 3600}


def test_traffic_has_every_stretch_in_its_table_and_draws_whole_ones():
    chart = traffic(flows())
    assert [row[1:] for row in chart.rows] == [(1, 1, 1), (None, None, None), (2, 1, 3), (2, 1, 3)]
    assert not chart.is_empty
    drawn = chart.as_json()
    assert [line["look"] for line in drawn["lines"]] == ["wait", "back", "pass"]
    assert drawn["times"] == list(chart.times[:3])
    assert drawn["lines"][2]["values"] == [1, None, 3]


def test_what_was_only_observed_has_a_line_of_its_own():
    assert [line.look for line in traffic(flows(observed=3)).lines][-1] == "seen"


def test_a_trend_has_a_median_and_a_percentile_for_each_day():
    chart = trend(flows())
    assert [row[1:] for row in chart.rows] == [(130, 900), (131, 900), (132, 900), (133, 900)]
    assert {line.unit for line in chart.lines} == {"seconds"}


def test_nothing_is_empty():
    assert traffic({**flows(), "slots": [[0, True, [0] * 8], [300, True, None]]}).is_empty
    assert growth(told()).is_empty
    assert growth(told()).rows == []


def test_delays_have_a_label_for_each_number():
    chart = delays({"bounds": [300, 600], "histogram": [1, 2, 3]})
    assert chart.rows == [("up to 5m", 1), ("5m to 10m", 2), ("over 10m", 3)]
    assert chart.as_json()["kind"] == "bars"


def test_growth_has_a_scale_of_its_own_for_octets_if_they_are_told():
    assert [line.unit for line in growth(told((0, 1, 1, 350, 0, 0, 0))).lines] == ["", "octets"]
    assert [line.unit for line in growth(told((0, 1, 1, 0, 0, 0, 0))).lines] == [""]


def test_no_more_is_drawn_than_can_be_seen():
    samples = [(hour * 3600, hour, 0, 0, 0, 0, 0) for hour in range(3_000)]
    chart = growth(told(*samples))
    assert len(chart.times) == 1_000
    assert chart.times[-1] == 2_999 * 3600


def test_a_day_is_told_by_its_last_sample():
    chart = growth(told((0, 1, 1, 0, 0, 0, 0), (3600, 2, 1, 0, 0, 0, 0), (DAY, 3, 1, 0, 0, 0, 0)))
    assert by_day(chart) == [(DAY, 3), (3600, 2)]
