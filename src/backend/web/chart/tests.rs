//! Tests of whole drawings.

use jiff::ToSpan;
use jiff::civil::date;

use super::*;

/// A chart of counts by day, of which the last day is today.
fn chart(series: &[(&str, Vec<Option<u64>>)], stacked: bool) -> TimeChart {
    let days = series.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
    let point = |day| TimePoint {
        date: date(2026, 11, 1).saturating_add(i64::try_from(day).unwrap().days()),
        partial: day + 1 == days,
    };
    let one = |(name, values): &(&str, Vec<Option<u64>>)| Series {
        name: (*name).to_owned(),
        class: "series-1",
        values: values.iter().map(|value| value.map(Value::Count)).collect(),
    };
    TimeChart {
        id: "chart",
        title: "Installations".to_owned(),
        description: "Installations by day.".to_owned(),
        step: TimeStep::Day,
        unit: Unit::Count,
        stacked,
        points: (0..days).map(point).collect(),
        series: series.iter().map(one).collect(),
        outages: Vec::new(),
        marks: Vec::new(),
    }
}

fn rendered(chart: &TimeChart) -> String {
    time_chart(chart).into_string()
}

/// Returns the first drawing.
fn wide(chart: &TimeChart) -> String {
    rendered(chart).split("<svg").nth(1).unwrap().to_owned()
}

#[test]
fn a_chart_is_drawn_at_each_size_with_a_name_and_ids_of_its_own() {
    let page = rendered(&chart(&[("v1.1", vec![Some(1); 9])], false));
    assert_eq!(page.matches("<svg").count(), SIZES.len());
    for size in SIZES {
        for id in [format!("chart-{}-title", size.class), format!("chart-{}-desc", size.class)] {
            assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
            assert_eq!(page.matches(&format!("by=\"{id}\"")).count(), 1, "{id}");
        }
    }
    assert!(!page.contains("style=") && !page.contains("<script") && !page.contains("<style"));
}

#[test]
fn text_is_escaped() {
    let mut chart = chart(&[("<b>&", vec![Some(1); 9])], false);
    (chart.title, chart.description) = ("<i>\"".to_owned(), "</desc>".to_owned());
    chart.marks = vec![Mark { date: date(2026, 11, 3), label: "<u>".to_owned() }];
    let page = rendered(&chart);
    for raw in ["<b>", "<i>", "</desc></desc>", "<u>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("&lt;b&gt;&amp;") && page.contains("&lt;u&gt;"), "{page}");
}

#[test]
fn without_data_there_is_no_drawing() {
    for series in [&[][..], &[("v1.1", vec![])], &[("v1.1", vec![None, None])]] {
        for stacked in [false, true] {
            let page = rendered(&chart(series, stacked));
            assert!(!page.contains("<svg") && page.contains("Nothing was received"), "{page}");
        }
    }
}

#[test]
fn a_few_points_are_dots_and_stand_on_nothing() {
    for values in [vec![Some(7)], vec![Some(7), Some(9)], vec![Some(7), None, Some(9), Some(3)]] {
        let chart = chart(&[("v1.2", values.clone()), ("v1.1", values.clone())], true);
        let (page, drawing) = (rendered(&chart), wide(&chart));
        assert!(!page.contains("Stacked") && !page.contains("<path"), "{page}");
        assert_eq!(drawing.matches("<circle").count(), 2 * values.iter().flatten().count(), "{drawing}");
        assert_eq!(drawing.matches("dot partial").count(), 2, "today of both");
        assert!(page.contains("is not over, so it is partial"), "{page}");
    }
}

#[test]
fn today_is_drawn_apart() {
    let lines = wide(&chart(&[("v1.1", vec![Some(5); 20])], false));
    assert_eq!((lines.matches("class=\"line\"").count(), lines.matches("class=\"line partial\"").count()), (1, 1));
    assert_eq!(lines.matches("<circle class=\"dot partial\"").count(), 1, "{lines}");
    let areas = wide(&chart(&[("v1.1", vec![Some(5); 20])], true));
    assert_eq!((areas.matches("class=\"area\"").count(), areas.matches("class=\"area partial\"").count()), (1, 1));
    let single = rendered(&chart(&[("v1.1", vec![Some(5); 20])], true));
    assert!(!single.contains("Stacked"), "one area stands on nothing");
    let mut complete = chart(&[("v1.1", vec![Some(5); 20])], true);
    complete.points[19].partial = false;
    assert!(!rendered(&complete).contains("partial"));
}

#[test]
fn a_stacked_chart_says_so_and_its_axis_reaches_the_sum() {
    let series = [("v1.2", vec![Some(60); 9]), ("v1.1", vec![Some(90); 9])];
    let (stacked, lines) = (rendered(&chart(&series, true)), rendered(&chart(&series, false)));
    assert!(stacked.contains("Stacked: each area") && stacked.contains(">150</text>"), "{stacked}");
    assert!(!lines.contains("Stacked") && !lines.contains(">150</text>") && lines.contains(">100</text>"), "{lines}");
}

#[test]
fn millions_are_told_exactly_and_their_axis_is_short() {
    let page = rendered(&chart(&[("agent", vec![Some(24_102_615); 9])], true));
    assert!(page.contains("agent: 24,102,615") && page.contains(">30 M</text>"), "{page}");
}

#[test]
fn a_day_without_data_is_a_gap() {
    let values = [vec![Some(5); 4], vec![None], vec![Some(5); 4]].concat();
    let chart = chart(&[("v1.1", values)], false);
    let drawing = wide(&chart);
    assert_eq!(drawing.matches("class=\"line\"").count(), 2, "{drawing}");
    assert!(drawing.contains("v1.1: no data"), "{drawing}");
}

#[test]
fn a_pointer_shows_the_series_that_have_something_as_they_stand() {
    let series = [("v1.3", vec![Some(0); 9]), ("v1.2", vec![Some(6); 9]), ("v1.1", vec![Some(9); 9])];
    let (stacked, lines) = (wide(&chart(&series, true)), wide(&chart(&series, false)));
    let order = |drawing: &str| drawing.find("v1.1: 9").unwrap() < drawing.find("v1.2: 6").unwrap();
    assert!(order(&stacked) && !order(&lines), "the highest is first in a stack, the newest in lines");
    assert!(!stacked.contains("v1.3: 0"), "{stacked}");
}

#[test]
fn outages_and_marks_are_in_the_drawing_only_where_they_are_on_the_axis() {
    let mut chart = chart(&[("v1.1", vec![Some(5); 20])], false);
    let outage = |from: &str, until: &str| Outage {
        from: from.parse().unwrap(),
        until: until.parse().unwrap(),
        label: format!("away from {from}"),
    };
    chart.outages = vec![
        outage("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z"),
        outage("2026-11-05T03:00:00Z", "2026-11-05T04:00:00Z"),
        outage("2026-11-30T00:00:00Z", "2026-12-02T00:00:00Z"),
    ];
    let mark = |day, label: &str| Mark { date: date(2026, 11, day), label: label.to_owned() };
    chart.marks = vec![mark(4, "v1.2 first seen"), mark(29, "v1.3 first seen")];
    let drawing = wide(&chart);
    assert_eq!(drawing.matches("class=\"outage\"").count(), 1, "{drawing}");
    assert!(drawing.contains("width=\"2.") && drawing.contains("away from 2026-11-05"), "an hour is seen: {drawing}");
    assert!(drawing.contains("v1.2 first seen") && !drawing.contains("v1.3 first seen"), "{drawing}");
}

#[test]
fn a_share_of_less_than_one_percent_is_not_told_as_nothing() {
    let mut chart = chart(&[("v1.1", vec![Some(1); 9])], false);
    chart.unit = Unit::Share;
    chart.series[0].values = vec![Some(Value::Share { count: 102_615, base: 24_102_615 }); 9];
    let page = rendered(&chart);
    assert!(page.contains("v1.1: 102,615 (0.4 %)") && page.contains(">0.4 %</text>"), "{page}");
}
