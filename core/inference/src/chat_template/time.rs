//! A local time that is passed in, and its `strftime` formats.

use std::fmt::Write;

/// A date and time of day as the person's clock shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year of the common era.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

impl LocalTime {
    /// From seconds since 1970-01-01T00:00:00Z and the local offset from UTC in seconds.
    pub fn from_unix(seconds: i64, offset_seconds: i32) -> Self {
        let local = seconds.saturating_add(i64::from(offset_seconds));
        let (days, second_of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        // Eras of 400 years begin on 1 March, so that the leap day comes last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (second_of_day / 3600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
        }
    }

    /// Days since 1970-01-01.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// Writes the time in the manner of C's `strftime`, in English. Unknown fields stay as they are.
    pub fn format(self, format: &str) -> String {
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut field = characters.next();
            let unpadded = field == Some('-');
            if unpadded {
                field = characters.next();
            }
            self.write_field(&mut text, field, unpadded);
        }
        text
    }

    fn write_field(self, text: &mut String, field: Option<char>, unpadded: bool) {
        let month = MONTHS
            .get(usize::from(self.month).wrapping_sub(1))
            .copied()
            .unwrap_or("");
        let weekday = WEEKDAYS[(self.days() + 3).rem_euclid(7) as usize];
        let hour12 = (self.hour + 11) % 12 + 1;
        let two = if unpadded { 1 } else { 2 };
        let written = match field {
            Some('Y') => write!(text, "{}", self.year),
            Some('y') => write!(text, "{:0two$}", self.year.rem_euclid(100)),
            Some('m') => write!(text, "{:0two$}", self.month),
            Some('d') => write!(text, "{:0two$}", self.day),
            Some('e') => write!(text, "{:two$}", self.day),
            Some('H') => write!(text, "{:0two$}", self.hour),
            Some('I') => write!(text, "{hour12:0two$}"),
            Some('M') => write!(text, "{:0two$}", self.minute),
            Some('S') => write!(text, "{:0two$}", self.second),
            Some('p') => write!(text, "{}", if self.hour < 12 { "AM" } else { "PM" }),
            Some('B') => write!(text, "{month}"),
            Some('b' | 'h') => write!(text, "{}", month.get(..3).unwrap_or("")),
            Some('A') => write!(text, "{weekday}"),
            Some('a') => write!(text, "{}", &weekday[..3]),
            Some('j') => {
                let first = Self {
                    month: 1,
                    day: 1,
                    ..self
                };
                let width = if unpadded { 1 } else { 3 };
                write!(text, "{:0width$}", self.days() - first.days() + 1)
            }
            Some('F') => write!(text, "{}", self.format("%Y-%m-%d")),
            Some('T') => write!(text, "{}", self.format("%H:%M:%S")),
            Some('n') => writeln!(text),
            Some('%') | None => write!(text, "%"),
            Some(other) => write!(text, "%{}{other}", if unpadded { "-" } else { "" }),
        };
        // Writing to a string can't fail.
        debug_assert!(written.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let date = |seconds| LocalTime::from_unix(seconds, 0).format("%F %T %a %j");
        assert_eq!(date(0), "1970-01-01 00:00:00 Thu 001");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 Mon 059");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 Tue 060");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59:59 Thu 060");
        assert_eq!(date(-1), "1969-12-31 23:59:59 Wed 365");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 Mon 060");
    }

    #[test]
    fn formats_that_templates_use() {
        let now = LocalTime::from_unix(1_721_988_305, 2 * 3600);
        assert_eq!(now.format("%d %b %Y"), "26 Jul 2024");
        assert_eq!(
            now.format("%B %-d, %Y at %I:%M %p, %A"),
            "July 26, 2024 at 12:05 PM, Friday"
        );
        assert_eq!(now.format("100%% %Q %"), "100% %Q %");
    }
}
