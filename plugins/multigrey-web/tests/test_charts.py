"""What is drawn, and the same as rows."""

from __future__ import annotations

from multigrey_web.charts import by_day, decided, delays, growth, traffic

DAY = 86_400
COLUMNS = ["hour", "records", "origins", "octets", "deferred", "passed", "refused"]


def told(*samples):
    return {"columns": COLUMNS, "samples": [list(sample) for sample in samples], "every": 3600}


def slot(begin, deferred, returned, passed):
    return {"begin": begin, "deferred": deferred, "returned": returned, "passed": passed}


def test_traffic_begins_with_the_first_whole_stretch():
    chart = traffic(
        {"since": 100, "more": False, "slots": [slot(50, 9, 9, 9), slot(100, 1, 2, 3), slot(200, 4, 5, 6)]}
    )
    assert chart.rows == [(100, 1, 2, 3), (200, 4, 5, 6)]
    assert not chart.is_empty
    assert [line["look"] for line in chart.as_json()["lines"]] == ["wait", "back", "pass"]


def test_what_was_not_looked_at_is_not_drawn_as_nothing():
    slots = [slot(100, 0, 0, 0), slot(200, 1, 0, 0), slot(300, 1, 2, 3)]
    assert traffic({"since": 100, "more": True, "traffic": {"first": 250}, "slots": slots}).rows == [
        (300, 1, 2, 3)
    ]
    assert len(traffic({"since": 100, "more": False, "traffic": {"first": 250}, "slots": slots}).rows) == 3


def test_nothing_is_empty():
    assert traffic({"since": 0, "more": False, "slots": [slot(0, 0, 0, 0)]}).is_empty
    assert growth(told()).is_empty
    assert growth(told()).rows == []


def test_without_a_history_samples_tell_what_was_decided():
    chart = decided(told((0, 1, 1, 1, 5, 6, 7), (7200, 1, 1, 1, 8, 9, 0)), since=7300)
    assert chart.rows == [(7200, 8, 9)]


def test_delays_have_a_label_for_each_number():
    chart = delays({"delay_bounds": [300, 600], "histogram": [1, 2, 3]})
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
