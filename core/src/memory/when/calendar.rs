//! Days and months around a moment, in UTC.

use time::{Date, Duration, Month, OffsetDateTime, Time};

use super::Span;

#[derive(Debug, Clone, Copy)]
pub(super) struct MonthDay {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: u8,
    /// From 1.
    pub(super) day: u8,
}

/// The calendar as seen at a moment.
pub(super) struct Calendar {
    pub(super) now_ms: i64,
    pub(super) today: MonthDay,
    date: Date,
}

impl Calendar {
    /// `None` for a moment that no calendar holds.
    pub(super) fn at(now_ms: i64) -> Option<Calendar> {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_ms) * 1_000_000).ok()?;
        let date = moment.date();
        Some(Calendar {
            now_ms,
            today: MonthDay {
                year: i64::from(date.year()),
                month: date.month().into(),
                day: date.day(),
            },
            date,
        })
    }

    pub(super) fn day(day: MonthDay) -> Option<Span> {
        let month = Month::try_from(day.month).ok()?;
        let date = Date::from_calendar_date(i32::try_from(day.year).ok()?, month, day.day).ok()?;
        Some(span(date, date.next_day()?))
    }

    /// `count` months from a month of a year on.
    pub(super) fn months(year: i64, month: u8, count: u8) -> Option<Span> {
        let last = i64::from(month) - 1 + i64::from(count);
        Some(span(
            first_of(year, month)?,
            first_of(year + last / 12, (last % 12) as u8 + 1)?,
        ))
    }

    /// The month so many before this one.
    pub(super) fn month_back(&self, back: i64) -> Option<Span> {
        let months = self.today.year * 12 + i64::from(self.today.month) - 1 - back;
        Self::months(months.div_euclid(12), months.rem_euclid(12) as u8 + 1, 1)
    }

    /// From one day to before another, counted from today.
    pub(super) fn days(&self, from: i64, to: i64) -> Span {
        let at = |days| self.date.checked_add(Duration::days(days)).unwrap_or(self.date);
        span(at(from), at(to))
    }

    /// Monday is 0.
    pub(super) fn weekday(&self) -> i64 {
        i64::from(self.date.weekday().number_days_from_monday())
    }

    /// The last such day before today.
    pub(super) fn last_weekday(&self, weekday: i64) -> Span {
        let back = (self.weekday() - weekday - 1).rem_euclid(7) + 1;
        self.days(-back, 1 - back)
    }
}

fn first_of(year: i64, month: u8) -> Option<Date> {
    Date::from_calendar_date(i32::try_from(year).ok()?, Month::try_from(month).ok()?, 1).ok()
}

fn span(from: Date, to: Date) -> Span {
    let ms = |date: Date| date.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp() * 1000;
    Span {
        from_ms: ms(from),
        to_ms: ms(to),
    }
}
