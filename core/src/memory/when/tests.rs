use super::*;

/// Thursday, 18 May 2023, 12:00.
const NOW_MS: i64 = 1_684_411_200_000;

fn shown(span: &Span) -> String {
    let day = |ms: i64| {
        if ms == i64::MIN {
            return "…".to_owned();
        }
        time::OffsetDateTime::from_unix_timestamp(ms / 1000)
            .unwrap()
            .date()
            .to_string()
    };
    format!("{} {}", day(span.from_ms), day(span.to_ms))
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found: Vec<String> = when(text, NOW_MS).spans.iter().map(shown).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn dates() {
    check("What did I do on 7 May 2022?", &["2022-05-07 2022-05-08"]);
    check("on May 7th, 2022", &["2022-05-07 2022-05-08"]);
    check("the 7th of May 2022", &["2022-05-07 2022-05-08"]);
    check("on 2022-05-07", &["2022-05-07 2022-05-08"]);
    check("In Feb. 2020, where was I?", &["2020-02-01 2020-03-01"]);
    check("in December of 2021", &["2021-12-01 2022-01-01"]);
    check("in 2021", &["2021-01-01 2022-01-01"]);
    check("on 30 February 2022", &[]);
}

#[test]
fn dates_without_a_year_are_any_that_have_begun() {
    let spans = when("what happened in May?", NOW_MS).spans;
    assert_eq!(
        (spans.len(), shown(&spans[9])),
        (10, "2023-05-01 2023-06-01".into())
    );
    let spans = when("what happened on 1 June?", NOW_MS).spans;
    assert_eq!(
        (spans.len(), shown(&spans[8])),
        (9, "2022-06-01 2022-06-02".into())
    );
}

#[test]
fn relative_times() {
    check("yesterday", &["2023-05-17 2023-05-18"]);
    check("what did I eat last night", &["2023-05-17 2023-05-19"]);
    check("this morning", &["2023-05-18 2023-05-19"]);
    check("last week", &["2023-05-08 2023-05-15"]);
    check("this week", &["2023-05-15 2023-05-22"]);
    check("last weekend", &["2023-05-13 2023-05-15"]);
    check("last month", &["2023-04-01 2023-05-01"]);
    check("last year", &["2022-01-01 2023-01-01"]);
    check("last Friday", &["2023-05-12 2023-05-13"]);
    check("on Thursday", &["2023-05-11 2023-05-12"]);
    check("two weeks ago", &["2023-05-01 2023-05-08"]);
    check("3 days ago", &["2023-05-15 2023-05-16"]);
    check("over the past ten days", &["2023-05-08 2023-05-19"]);
    check("a few weeks ago", &["2023-04-14 2023-05-11"]);
}

#[test]
fn seasons() {
    check("last spring", &["2022-03-01 2022-06-01"]);
    check("this spring", &["2023-03-01 2023-06-01"]);
    check("last winter", &["2022-12-01 2023-03-01"]);
    check("in the summer of 2021", &["2021-06-01 2021-09-01"]);
    check("in autumn", &["2022-09-01 2022-12-01"]);
}

#[test]
fn open_ends() {
    check("since last month", &["2023-04-01 2023-05-18"]);
    check("before May 2022", &["… 2022-05-01"]);
    check("until 2020", &["… 2021-01-01"]);
    check("after 7 May 2022", &["2022-05-08 2023-05-18"]);
}

#[test]
fn other_words_are_left_alone() {
    for text in [
        "May I ask you something?",
        "Did I march with them?",
        "What may come next?",
        "room 2021 please",
        "Do I like to fall asleep early?",
        "I'm on the sun deck",
        "week month year ago",
        "",
        "🦀 今日は",
    ] {
        check(text, &[]);
        assert!(when(text, NOW_MS).expressions.is_empty(), "{text}");
    }
}

#[test]
fn the_past() {
    for text in [
        "Where did I live before I moved?",
        "where did I live before?",
        "What did I use to... I used to play what?",
        "Where did I work previously?",
        "in the past",
        "last spring",
    ] {
        assert!(when(text, NOW_MS).past, "{text}");
    }
    for text in [
        "Where do I live?",
        "this week",
        "in the garden",
        "over the fence",
        "since last month",
    ] {
        assert!(!when(text, NOW_MS).past, "{text}");
    }
}

#[test]
fn expressions_are_found_in_the_text() {
    let text = "What did Ana say in May 2022 about the zoo?";
    let found = when(text, NOW_MS).expressions;
    assert_eq!(
        found.iter().map(|bytes| &text[bytes.clone()]).collect::<Vec<_>>(),
        ["in May 2022"]
    );
}

#[test]
fn absurd_moments_are_no_reason_to_panic() {
    for now in [i64::MIN, i64::MAX, 0, -1] {
        when("last winter, 3 years ago, before May, in 1900, last year", now);
    }
}
