use proptest::prelude::*;

use super::*;

fn page(rows: u64, changes: u64, members: u64, ages: [u64; 3]) -> String {
    let [first, second, all] = ages;
    format!(
        "# HELP cmsync_producer_rows_read_total Membership rows read.\n\
         cmsync_producer_rows_read_total {rows}\n\
         cmsync_producer_members{{connection=\"contoso\"}} {members}\n\
         cmsync_uploader_changes_accepted_total{{connection=\"contoso\"}} {changes}\n\
         cmsync_uploader_record_age_seconds_bucket{{le=\"1\"}} {first}\n\
         cmsync_uploader_record_age_seconds_bucket{{le=\"10\"}} {second}\n\
         cmsync_uploader_record_age_seconds_bucket{{le=\"+Inf\"}} {all}\n\
         nonsense\n\nx y\n"
    )
}

fn line<'a>(drawn: &'a Drawn, plot: &str, at: usize) -> &'a [Option<f32>] {
    &drawn.plots.iter().find(|own| own.id == plot).unwrap().lines[at].values
}

/// Samples, one every ten seconds.
fn taken(pages: impl Iterator<Item = String>) -> Samples {
    let samples = Samples::default();
    let mut now = 1_800_000_000.0;
    for page in pages {
        samples.take(&page, now);
        now += 10.0;
    }
    samples
}

#[test]
fn a_counter_is_drawn_as_its_growth_and_a_restart_of_it_as_none() {
    let samples = taken([100, 300, 300, 50].map(|rows| page(rows, 0, 7, [0; 3])).into_iter());
    let drawn = samples.drawn(Of::Process, Span::Hour);
    assert_eq!(drawn.times.len(), 4);
    assert_eq!(line(&drawn, "rates", 0), [None, Some(20.0), Some(0.0), None]);
    // What the page does not have is drawn as nothing.
    assert_eq!(line(&drawn, "rates", 1), [None; 4]);
    let own = samples.drawn(Of::Connection("contoso"), Span::Hour);
    assert_eq!(line(&own, "members", 0), [Some(7.0); 4]);
    assert_eq!(line(&samples.drawn(Of::Connection("x"), Span::Hour), "members", 0), [None; 4]);
}

#[test]
fn a_quantile_is_of_what_came_since_the_last_sample() {
    let pages = [[100, 100, 100], [100, 110, 110], [100, 110, 110], [100, 110, 120]];
    let samples = taken(pages.map(|ages| page(0, 0, 0, ages)).into_iter());
    let drawn = samples.drawn(Of::Process, Span::Hour);
    // Ten between 1 and 10 s, then none, then ten above 10 s.
    assert_eq!(line(&drawn, "delay", 0), [None, Some(5.5), None, Some(10.0)]);
}

#[test]
fn a_day_is_kept_in_two_grains_and_no_more() {
    let samples = taken((0..10_000).map(|n| page(n * 10, n, 5, [0; 3])));
    let (hour, day) =
        (samples.drawn(Of::Process, Span::Hour), samples.drawn(Of::Process, Span::Day));
    assert_eq!((hour.times.len(), day.times.len()), (360, 720));
    assert!(hour.times.is_sorted() && day.times.is_sorted());
    assert_eq!(line(&day, "rates", 0), [Some(1.0); 720]);
    // A change every ten seconds, of which the last day counts.
    let lately = samples.lately("contoso", false);
    let changes = lately.changes.unwrap();
    assert!((8_640..=8_652).contains(&changes), "{changes}");
    assert_eq!(lately.a_minute, Some(6));
    assert!(
        lately.is_full_day
            && !taken(std::iter::once(page(0, 0, 0, [0; 3]))).lately("contoso", false).is_full_day
    );
}

#[test]
fn late_samples_count_for_the_time_that_they_stand_for() {
    let samples = Samples::default();
    for n in 0..200_u32 {
        // One change a second, looked at every 25 s.
        let at = n * 25;
        samples.take(&page(0, at.into(), 1, [0; 3]), 1_800_000_000.0 + f64::from(at));
    }
    let lately = samples.lately("contoso", false);
    assert_eq!(lately.a_minute, Some(75));
    // Of the first two minutes it is not known how long they took.
    let changes = lately.changes.unwrap();
    assert!((199 * 25 - 180..=199 * 25).contains(&changes), "{changes}");
}

#[test]
fn a_connection_that_went_is_forgotten_and_one_that_came_begins() {
    let other = |name: &str| page(0, 0, 3, [0; 3]).replace("contoso", name);
    let samples = taken((0..10_000).map(|n| other(if n < 100 { "old" } else { "new" })));
    assert!(
        samples
            .with(|inner| inner.kept.line("cmsync_producer_members/old", Span::Day))
            .iter()
            .all(Option::is_none)
    );
    let samples = taken((0..20).map(|n| other(if n < 10 { "old" } else { "new" })));
    let drawn = samples.drawn(Of::Connection("new"), Span::Hour);
    let values = line(&drawn, "members", 0);
    assert_eq!((values[9], values[10], values.len()), (None, Some(3.0), 20));
}

#[test]
fn since_when_a_connection_is_so_is_known_from_when_it_changed() {
    let samples = Samples::default();
    let judge = |verdict, now| samples.judged(std::iter::once(("a".to_owned(), verdict)), now);
    judge(Verdict::True, 1);
    judge(Verdict::True, 2);
    let from_start = Since { at: 1, is_from_start: true };
    assert_eq!(samples.since("a", Verdict::True), Some(from_start));
    assert_eq!(samples.since("a", Verdict::Behind), None);
    judge(Verdict::Behind, 3);
    judge(Verdict::Behind, 4);
    let changed = Since { at: 3, is_from_start: false };
    assert_eq!(samples.since("a", Verdict::Behind), Some(changed));
    // For a moment, with each poll that finds something, it was not untrue.
    judge(Verdict::True, 5);
    assert_eq!(samples.since("a", Verdict::True), Some(from_start));
    judge(Verdict::Behind, 6);
    judge(Verdict::True, 6 + A_MOMENT);
    let again = Since { at: 6 + A_MOMENT, is_from_start: false };
    assert_eq!(samples.since("a", Verdict::True), Some(again));
    assert_eq!(samples.since("b", Verdict::True), None);
}

proptest! {
    #[test]
    fn whatever_a_page_holds_it_is_read(text in "\\PC{0,300}", lines in proptest::collection::vec("[a-z_]{1,12}(_bucket\\{le=\"[0-9.+Inf]{0,5}\"\\})? [0-9e.+-]{0,8}", 0..20)) {
        let samples = Samples::default();
        samples.take(&text, 1.0);
        samples.take(&lines.join("\n"), 2.0);
        samples.take(&lines.concat(), 2.0);
        prop_assert_eq!(samples.drawn(Of::Process, Span::Hour).times.len(), 3);
    }
}
