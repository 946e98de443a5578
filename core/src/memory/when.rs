//! Time expressions in questions: "in May 2023", "last spring", "two weeks ago", "before I moved".
//!
//! What is understood (English, any case; times are UTC, weeks begin on Monday, seasons are those of the north):
//!
//! ```text
//! time    = [ "since" | "after" | "before" | "until" ] span
//! span    = day | month | season | year | relative
//! day     = number month [year] | month number [year] | "2023-05-07"
//! month   = [ "in" | "during" | "early" | … ] name [year]          "may" needs such a word, a number or a year beside it
//! season  = [ "last" | "this" ] name | name [ "of" ] year | "in" [ "the" ] name
//! year    = ( "in" | "during" | … ) 1900…2099
//! relative= "today" | "yesterday" | "tonight" | "last night" | "this morning"
//!         | ( "last" | "this" | "past" ) ( "week" | "weekend" | "month" | "year" | weekday ) | "on" weekday
//!         | count unit "ago" | ( "last" | "past" ) count unit
//! count   = number | "a" | "one" … "twelve" | "a couple of" | "a few" | "several"
//! past    = "used to" | "before" clause | "back then" | "previously" | "formerly" | "originally" | "at first" | …
//! ```
//!
//! A day or month without a year is any of the last ten that have begun. A vague count ("a few weeks ago") and a coarse
//! unit ("two years ago") stand for a wider span.

mod calendar;
mod validity;

use std::ops::Range;

use calendar::{Calendar, MonthDay};
pub use validity::validity;

/// A stretch of time: milliseconds since the Unix epoch, the start in it and the end not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its start.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

/// What a question says about time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// When it was, in one of these; empty when the question doesn't say.
    pub spans: Vec<Span>,
    /// Whether it asks for how things were rather than are.
    pub past: bool,
    /// Which bytes of the text are the expressions, in order.
    pub expressions: Vec<Range<usize>>,
}

/// A date without a year stands for so many.
const YEARS: i64 = 10;

/// What `text`, asked at `now_ms`, says about time.
pub fn when(text: &str, now_ms: i64) -> When {
    let words = words(text);
    let Some(calendar) = Calendar::at(now_ms) else {
        return When::default();
    };
    let mut when = When::default();
    let mut at = 0;
    while at < words.len() {
        let parser = Parser {
            words: &words,
            calendar: &calendar,
        };
        if let Some((spans, used)) = parser.time(at) {
            when.past |= !spans.is_empty() && spans.iter().all(|span| span.to_ms < now_ms);
            when.spans.extend(spans);
            when.expressions
                .push(words[at].bytes.start..words[at + used - 1].bytes.end);
            at += used;
        } else {
            when.past |= parser.past(at);
            at += 1;
        }
    }
    when
}

struct TimeWord {
    text: String,
    bytes: Range<usize>,
}

fn words(text: &str) -> Vec<TimeWord> {
    let mut words: Vec<TimeWord> = Vec::new();
    let mut start = None;
    // A hyphen within a word is part of it: dates are written with it.
    let inside = |c: char| c.is_alphanumeric() || c == '-';
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match start {
            None if inside(c) => start = Some(at),
            Some(from) if !inside(c) => {
                words.push(TimeWord {
                    text: text[from..at].to_lowercase(),
                    bytes: from..at,
                });
                start = None;
            }
            _ => {}
        }
    }
    words
}

struct Parser<'a> {
    words: &'a [TimeWord],
    calendar: &'a Calendar,
}

type Found = (Vec<Span>, usize);

impl Parser<'_> {
    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| word.text.as_str())
    }

    /// An expression that begins with word `at`, and how many words it has.
    fn time(&self, at: usize) -> Option<Found> {
        let mode = self.word(at);
        if matches!(mode, "since" | "after" | "before" | "until" | "till") {
            let (spans, used) = self.span(at + 1, true)?;
            let now = self.calendar.now_ms;
            let spans = match mode {
                // Of several years, only the last can be meant.
                "since" => spans.last().map(|span| (span.from_ms, now.max(span.to_ms))),
                "after" => spans.last().map(|span| (span.to_ms, now.max(span.to_ms))),
                "before" => spans.last().map(|span| (i64::MIN, span.from_ms)),
                _ => spans.last().map(|span| (i64::MIN, span.to_ms)),
            };
            let spans = spans.into_iter().map(|(from_ms, to_ms)| Span { from_ms, to_ms });
            return Some((spans.collect(), used + 1));
        }
        let lead = usize::from(matches!(
            mode,
            "in" | "on"
                | "during"
                | "of"
                | "by"
                | "around"
                | "over"
                | "within"
                | "early"
                | "late"
                | "mid"
                | "at"
        ));
        let the = usize::from(lead == 1 && self.word(at + 1) == "the");
        let more = usize::from(matches!(
            self.word(at + lead + the),
            "early" | "late" | "mid" | "middle"
        )) * usize::from(lead == 1);
        let skip = lead + the + more;
        let (spans, used) = self.span(at + skip, lead == 1)?;
        Some((spans, used + skip))
    }

    /// `led`: whether a word like "in" stands before it.
    fn span(&self, at: usize, led: bool) -> Option<Found> {
        self.date(at, led)
            .or_else(|| self.season(at, led))
            .or_else(|| self.year(at, led))
            .or_else(|| self.relative(at, led))
    }

    fn date(&self, at: usize, led: bool) -> Option<Found> {
        if let Some(day) = iso(self.word(at)) {
            return Some((vec![Calendar::day(day)?], 1));
        }
        // "7 May 2023", "7th of May"
        if let Some(day) = day_number(self.word(at)) {
            let of = usize::from(self.word(at + 1) == "of");
            let month = month(self.word(at + 1 + of))?;
            let (year, used) = self.year_after(at + 2 + of);
            return Some((self.dated(year, month, Some(day)), 2 + of + used));
        }
        let month = month(self.word(at))?;
        // "May 7, 2023"
        if let Some(day) = day_number(self.word(at + 1)) {
            let (year, used) = self.year_after(at + 2);
            return Some((self.dated(year, month, Some(day)), 2 + used));
        }
        let of = usize::from(self.word(at + 1) == "of");
        let (year, used) = self.year_after(at + 1 + of);
        let used = if used > 0 { used + of } else { 0 };
        // "march" and "may" are words of their own.
        let clear =
            led || year.is_some() || !matches!(self.word(at), "may" | "march" | "mar" | "sun" | "dec");
        clear.then(|| (self.dated(year, month, None), 1 + used))
    }

    fn year_after(&self, at: usize) -> (Option<i64>, usize) {
        match year_number(self.word(at)) {
            Some(year) => (Some(year), 1),
            None => (None, 0),
        }
    }

    fn dated(&self, year: Option<i64>, month: u8, day: Option<u8>) -> Vec<Span> {
        let this = self.calendar.today.year;
        let years = year.map_or(this - YEARS + 1..=this, |year| year..=year);
        years
            .filter_map(|y| match day {
                Some(day) => Calendar::day(MonthDay { year: y, month, day }),
                None => Calendar::months(y, month, 1),
            })
            .filter(|span| year.is_some() || span.from_ms <= self.calendar.now_ms)
            .collect()
    }

    fn season(&self, at: usize, led: bool) -> Option<Found> {
        let which = self.word(at);
        let relative = matches!(which, "last" | "this" | "past");
        let name = if relative { at + 1 } else { at };
        let first_month = match self.word(name) {
            "spring" => 3,
            "summer" => 6,
            "autumn" => 9,
            "fall" if relative || led || year_number(self.word(name + 1)).is_some() => 9,
            "winter" => 12,
            _ => return None,
        };
        let used = name + 1 - at;
        let of = usize::from(self.word(name + 1) == "of");
        if let (Some(year), more) = self.year_after(name + 1 + of) {
            return Some((vec![Calendar::months(year, first_month, 3)?], used + of + more));
        }
        if !relative && !led {
            return None;
        }
        // The last that is over; "this" and a bare name: the last that has begun.
        let over = which == "last" || which == "past";
        let this = self.calendar.today.year;
        let span = (this - 2..=this).rev().find_map(|year| {
            let span = Calendar::months(year, first_month, 3)?;
            let by = if over { span.to_ms } else { span.from_ms };
            (by <= self.calendar.now_ms).then_some(span)
        })?;
        Some((vec![span], used))
    }

    fn year(&self, at: usize, led: bool) -> Option<Found> {
        let year = year_number(self.word(at)).filter(|_| led)?;
        Some((vec![Calendar::months(year, 1, 12)?], 1))
    }

    fn relative(&self, at: usize, led: bool) -> Option<Found> {
        let days = |from: i64, to: i64| Some(vec![self.calendar.days(from, to)]);
        let next = self.word(at + 1);
        match (self.word(at), next) {
            ("today" | "tonight", _) => return Some((days(0, 1)?, 1)),
            ("yesterday", _) => return Some((days(-1, 0)?, 1)),
            ("last", "night") => return Some((days(-1, 1)?, 2)),
            ("this", "morning" | "afternoon" | "evening") => return Some((days(0, 1)?, 2)),
            _ => {}
        }
        if let Some(weekday) = weekday(self.word(at)).filter(|_| led) {
            return Some((vec![self.calendar.last_weekday(weekday)], 1));
        }
        if matches!(self.word(at), "last" | "this" | "past") {
            let before = i64::from(self.word(at) != "this");
            let week = -self.calendar.weekday();
            let span = match next {
                "week" => self.calendar.days(week - 7 * before, week - 7 * before + 7),
                "weekend" => {
                    // On a weekend "last weekend" is the one before.
                    let over = i64::from(self.calendar.weekday() < 5 || before == 1);
                    self.calendar.days(week + 5 - 7 * over, week + 7 - 7 * over)
                }
                "month" => self.calendar.month_back(before)?,
                "year" => Calendar::months(self.calendar.today.year - before, 1, 12)?,
                _ => match weekday(next) {
                    Some(day) => self.calendar.last_weekday(day),
                    None if before == 1 => {
                        let (count, _, used) = self.count(at + 1)?;
                        let days = count * unit_days(self.word(at + 1 + used))?;
                        return Some((vec![self.calendar.days(-days, 1)], 2 + used));
                    }
                    None => return None,
                },
            };
            return Some((vec![span], 2));
        }
        // "two weeks ago", "a few months ago"
        let (count, vague, used) = self.count(at)?;
        let unit = unit_days(self.word(at + used))?;
        (self.word(at + used + 1) == "ago").then_some(())?;
        let slack = if vague {
            unit * count / 2 + unit / 2
        } else {
            unit / 2
        };
        let middle = count * unit;
        Some((
            vec![self.calendar.days(-middle - slack, -middle + slack + 1)],
            used + 2,
        ))
    }

    /// How many, whether that is vague, and in how many words it is said.
    fn count(&self, at: usize) -> Option<(i64, bool, usize)> {
        const NUMBERS: [&str; 12] = [
            "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        ];
        match (self.word(at), self.word(at + 1), self.word(at + 2)) {
            ("a", "couple", "of") => return Some((2, true, 3)),
            ("a", "few", _) => return Some((3, true, 2)),
            ("few", ..) => return Some((3, true, 1)),
            ("several", ..) => return Some((4, true, 1)),
            ("a" | "an", ..) => return Some((1, false, 1)),
            _ => {}
        }
        let word = self.word(at);
        let number = match NUMBERS.iter().position(|number| *number == word) {
            Some(place) => place as i64 + 1,
            None => word.parse().ok().filter(|number| (1..=999).contains(number))?,
        };
        Some((number, false, 1))
    }

    /// Whether the question is about how things were, by what stands at word `at`.
    fn past(&self, at: usize) -> bool {
        let next = self.word(at + 1);
        match self.word(at) {
            "used" | "use" => next == "to",
            "back" => next == "then",
            "at" => next == "first",
            "no" => next == "longer",
            "in" => next == "the" && self.word(at + 2) == "past",
            "previously" | "formerly" | "originally" | "initially" | "earlier" | "former" | "previous" => {
                true
            }
            // "before I moved"; and at the end: "where did I live before?"
            "before" => matches!(
                next,
                "" | "i" | "we" | "my" | "our" | "he" | "she" | "they" | "that" | "the" | "moving" | "then"
            ),
            _ => false,
        }
    }
}

fn month(word: &str) -> Option<u8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let known = |month: &&str| word == *month || word.len() == 3 && month.starts_with(word);
    MONTHS
        .iter()
        .position(|month| known(month) || *month == "september" && word == "sept")
        .map(|place| place as u8 + 1)
}

/// Monday is 0.
fn weekday(word: &str) -> Option<i64> {
    const DAYS: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    DAYS.iter().position(|day| *day == word).map(|place| place as i64)
}

fn unit_days(word: &str) -> Option<i64> {
    Some(match word {
        "day" | "days" => 1,
        "week" | "weeks" => 7,
        "month" | "months" => 30,
        "year" | "years" => 365,
        _ => return None,
    })
}

fn year_number(word: &str) -> Option<i64> {
    let year = (word.len() == 4).then(|| word.parse().ok())??;
    (1900..2100).contains(&year).then_some(year)
}

fn day_number(word: &str) -> Option<u8> {
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|end| word.strip_suffix(end))
        .unwrap_or(word);
    let day = digits.parse().ok()?;
    (digits.len() <= 2 && (1..=31).contains(&day)).then_some(day)
}

fn iso(word: &str) -> Option<MonthDay> {
    let mut parts = word.split('-');
    let day = MonthDay {
        year: year_number(parts.next()?)?,
        month: parts.next()?.parse().ok()?,
        day: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(day)
}

#[cfg(test)]
mod tests;
