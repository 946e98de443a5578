//! Numbers with their units, times of day, days and dates, so that "19:00" is "7 pm" and 10 mg is not 20 mg.

/// What a number counts. Values of one dimension are in its base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Dimension {
    /// A bare number.
    Count,
    /// Grams.
    Mass,
    /// Metres.
    Length,
    /// Litres.
    Volume,
    /// Minutes.
    Duration,
    /// Minutes since midnight.
    TimeOfDay,
    /// Minutes since midnight or noon: nobody said which half of the day.
    HalfDay,
    /// 0 is Monday.
    Weekday,
    /// 1 is January.
    Month,
    /// A year of four digits.
    Year,
    /// Money; the number is that of the currency in `CURRENCIES`.
    Money(u8),
    /// Hundredths.
    Percent,
    /// Degrees; 0 unnamed, 1 Celsius, 2 Fahrenheit.
    Degrees(u8),
    /// Kilometres an hour.
    Speed,
    /// Kilocalories.
    Energy,
    /// Bytes.
    Data,
    /// Times that something happens.
    Times,
}

/// A number of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantity {
    pub(super) dimension: Dimension,
    pub(super) value: f64,
}

impl Quantity {
    /// Whether it says when, rather than how much.
    pub(super) fn is_when(self) -> bool {
        matches!(
            self.dimension,
            Dimension::TimeOfDay
                | Dimension::HalfDay
                | Dimension::Weekday
                | Dimension::Month
                | Dimension::Year
        )
    }

    /// Whether both say the same; converted units may differ by rounding.
    pub(super) fn agrees(self, other: Quantity) -> bool {
        let half = |quantity: Quantity| quantity.value.rem_euclid(720.0);
        match (self.dimension, other.dimension) {
            (a, b) if a == b => {
                let tolerance = match a {
                    Dimension::Mass | Dimension::Length | Dimension::Volume | Dimension::Speed => 0.006,
                    _ => 1e-9,
                };
                (self.value - other.value).abs() <= tolerance * self.value.abs().max(other.value.abs())
            }
            (Dimension::TimeOfDay, Dimension::HalfDay) | (Dimension::HalfDay, Dimension::TimeOfDay) => {
                (half(self) - half(other)).abs() < 1e-9
            }
            _ => false,
        }
    }

    fn same_dimension(self, other: Quantity) -> bool {
        let day = |dimension| matches!(dimension, Dimension::TimeOfDay | Dimension::HalfDay);
        self.dimension == other.dimension || day(self.dimension) && day(other.dimension)
    }
}

/// How two lists of numbers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// All agree.
    Equal,
    /// The second says nothing that the first does not.
    FewerInSecond,
    /// The second says more.
    MoreInSecond,
    /// They cannot both hold of one thing.
    Conflict,
}

/// Compares the numbers of two statements.
pub(super) fn agreement(first: &[Quantity], second: &[Quantity]) -> Agreement {
    let mut rest: Vec<Quantity> = second.to_vec();
    let mut left: Vec<Quantity> = Vec::new();
    for quantity in first {
        match rest.iter().position(|other| quantity.agrees(*other)) {
            Some(at) => {
                rest.swap_remove(at);
            }
            None => left.push(*quantity),
        }
    }
    let clash = |a: &Quantity, b: &Quantity| {
        a.same_dimension(*b) || (a.value - b.value).abs() < 1e-9 && !a.is_when() && !b.is_when()
    };
    if left.iter().any(|a| rest.iter().any(|b| clash(a, b))) {
        Agreement::Conflict
    } else if rest.is_empty() && left.is_empty() {
        Agreement::Equal
    } else if rest.is_empty() {
        Agreement::FewerInSecond
    } else {
        Agreement::MoreInSecond
    }
}

const UNITS: &[(&str, Dimension, f64)] = &[
    ("µg", Dimension::Mass, 1e-6),
    ("mcg", Dimension::Mass, 1e-6),
    ("microgram", Dimension::Mass, 1e-6),
    ("mg", Dimension::Mass, 1e-3),
    ("milligram", Dimension::Mass, 1e-3),
    ("g", Dimension::Mass, 1.0),
    ("gram", Dimension::Mass, 1.0),
    ("kg", Dimension::Mass, 1e3),
    ("kilo", Dimension::Mass, 1e3),
    ("kilogram", Dimension::Mass, 1e3),
    ("lb", Dimension::Mass, 453.592),
    ("pound", Dimension::Mass, 453.592),
    ("oz", Dimension::Mass, 28.3495),
    ("ounce", Dimension::Mass, 28.3495),
    ("mm", Dimension::Length, 1e-3),
    ("cm", Dimension::Length, 1e-2),
    ("centimetre", Dimension::Length, 1e-2),
    ("centimeter", Dimension::Length, 1e-2),
    ("m", Dimension::Length, 1.0),
    ("metre", Dimension::Length, 1.0),
    ("meter", Dimension::Length, 1.0),
    ("km", Dimension::Length, 1e3),
    ("kilometre", Dimension::Length, 1e3),
    ("kilometer", Dimension::Length, 1e3),
    ("mile", Dimension::Length, 1609.34),
    ("inch", Dimension::Length, 0.0254),
    ("foot", Dimension::Length, 0.3048),
    ("feet", Dimension::Length, 0.3048),
    ("ft", Dimension::Length, 0.3048),
    ("ml", Dimension::Volume, 1e-3),
    ("millilitre", Dimension::Volume, 1e-3),
    ("milliliter", Dimension::Volume, 1e-3),
    ("cl", Dimension::Volume, 1e-2),
    ("l", Dimension::Volume, 1.0),
    ("litre", Dimension::Volume, 1.0),
    ("liter", Dimension::Volume, 1.0),
    ("second", Dimension::Duration, 1.0 / 60.0),
    ("minute", Dimension::Duration, 1.0),
    ("min", Dimension::Duration, 1.0),
    ("minuto", Dimension::Duration, 1.0),
    ("hour", Dimension::Duration, 60.0),
    ("stunde", Dimension::Duration, 60.0),
    ("stunden", Dimension::Duration, 60.0),
    ("heure", Dimension::Duration, 60.0),
    ("hora", Dimension::Duration, 60.0),
    ("unit", Dimension::Count, 1.0),
    ("pill", Dimension::Count, 1.0),
    ("tablet", Dimension::Count, 1.0),
    ("capsule", Dimension::Count, 1.0),
    ("drop", Dimension::Count, 1.0),
    ("percent", Dimension::Percent, 1.0),
    ("prozent", Dimension::Percent, 1.0),
    ("%", Dimension::Percent, 1.0),
    ("°c", Dimension::Degrees(1), 1.0),
    ("°f", Dimension::Degrees(2), 1.0),
    ("°", Dimension::Degrees(0), 1.0),
    ("degree", Dimension::Degrees(0), 1.0),
    ("km/h", Dimension::Speed, 1.0),
    ("mph", Dimension::Speed, 1.60934),
    ("kcal", Dimension::Energy, 1.0),
    ("calorie", Dimension::Energy, 1.0),
    ("mb", Dimension::Data, 1e6),
    ("gb", Dimension::Data, 1e9),
    ("tb", Dimension::Data, 1e12),
    ("time", Dimension::Times, 1.0),
    ("mal", Dimension::Times, 1.0),
    ("fois", Dimension::Times, 1.0),
    ("veces", Dimension::Times, 1.0),
];

const CURRENCIES: &[&[&str]] = &[
    &["$", "dollar", "usd", "buck"],
    &["€", "euro", "eur"],
    &["£", "gbp", "quid"],
    &["¥", "yen", "jpy"],
    &["₹", "rupee", "inr"],
    &["franc", "chf", "franken"],
    &["krona", "kronor", "krone", "kroner", "sek", "nok", "dkk"],
    &["peso"],
    &["zloty", "złoty", "pln"],
];

/// The unit a word names, and what one of it is in the base unit.
pub(super) fn unit(word: &str) -> Option<(Dimension, f64)> {
    let find = |word: &str| {
        if let Some(number) = CURRENCIES.iter().position(|names| names.contains(&word)) {
            return Some((Dimension::Money(number as u8), 1.0));
        }
        UNITS
            .iter()
            .find(|(name, ..)| *name == word)
            .map(|(_, dimension, factor)| (*dimension, *factor))
    };
    find(word).or_else(|| find(word.strip_suffix('s').filter(|stem| stem.len() > 1)?))
}

/// A number as digits: "7", "1,100", "1.100,50", "3.5".
pub(super) fn number(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.len() > 18 {
        return None;
    }
    let last = text.rfind([',', '.']);
    let grouped = |at: usize| text.len() - at == 4 && !text.starts_with('0');
    let mut plain = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' => plain.push(c),
            ',' | '.' if Some(at) == last && !grouped(at) => plain.push('.'),
            ',' | '.' => {}
            _ => return None,
        }
    }
    plain.parse().ok()
}

/// A number as a word, in English, German, French or Spanish. "one" counts, "a" and its like do not.
pub(super) fn number_word(word: &str) -> Option<f64> {
    const WORDS: &[(&str, f64)] = &[
        ("zero", 0.0),
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("eleven", 11.0),
        ("twelve", 12.0),
        ("dozen", 12.0),
        ("thirteen", 13.0),
        ("fourteen", 14.0),
        ("fifteen", 15.0),
        ("sixteen", 16.0),
        ("seventeen", 17.0),
        ("eighteen", 18.0),
        ("nineteen", 19.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("forty", 40.0),
        ("fifty", 50.0),
        ("sixty", 60.0),
        ("seventy", 70.0),
        ("eighty", 80.0),
        ("ninety", 90.0),
        ("hundred", 100.0),
        ("thousand", 1000.0),
        ("zwei", 2.0),
        ("drei", 3.0),
        ("vier", 4.0),
        ("fünf", 5.0),
        ("sechs", 6.0),
        ("sieben", 7.0),
        ("acht", 8.0),
        ("neun", 9.0),
        ("zehn", 10.0),
        ("elf", 11.0),
        ("zwölf", 12.0),
        ("deux", 2.0),
        ("trois", 3.0),
        ("quatre", 4.0),
        ("cinq", 5.0),
        ("sept", 7.0),
        ("huit", 8.0),
        ("neuf", 9.0),
        ("dix", 10.0),
        ("dos", 2.0),
        ("tres", 3.0),
        ("cuatro", 4.0),
        ("cinco", 5.0),
        ("seis", 6.0),
        ("siete", 7.0),
        ("ocho", 8.0),
        ("nueve", 9.0),
        ("diez", 10.0),
    ];
    WORDS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, value)| *value)
        .or_else(|| {
            let (tens, ones) = word.split_once('-')?;
            let (tens, ones) = (number_word(tens)?, number_word(ones)?);
            ((20.0..100.0).contains(&tens) && ones < 10.0).then_some(tens + ones)
        })
}

/// How often a word says that something happens.
pub(super) fn times(word: &str) -> Option<f64> {
    match word {
        "once" => Some(1.0),
        "twice" | "zweimal" => Some(2.0),
        "thrice" | "dreimal" => Some(3.0),
        "viermal" => Some(4.0),
        _ => None,
    }
}

/// The day of the week or month of the year that a word names.
pub(super) fn calendar(word: &str) -> Option<Quantity> {
    const DAYS: [&[&str]; 7] = [
        &["monday", "montag", "lundi", "lunes", "montags"],
        &["tuesday", "dienstag", "mardi", "martes", "dienstags"],
        &["wednesday", "mittwoch", "mercredi", "miércoles", "mittwochs"],
        &["thursday", "donnerstag", "jeudi", "jueves", "donnerstags"],
        &["friday", "freitag", "vendredi", "viernes", "freitags"],
        &["saturday", "samstag", "samedi", "sábado", "samstags"],
        &["sunday", "sonntag", "dimanche", "domingo", "sonntags"],
    ];
    const MONTHS: [&[&str]; 12] = [
        &["january", "januar", "janvier", "enero"],
        &["february", "februar", "février", "febrero"],
        &["march", "märz", "mars", "marzo"],
        &["april", "avril", "abril"],
        &["mai", "mayo"],
        &["june", "juni", "juin", "junio"],
        &["july", "juli", "juillet", "julio"],
        &["august", "août", "agosto"],
        &["september", "septembre", "septiembre"],
        &["october", "oktober", "octobre", "octubre"],
        &["november", "novembre", "noviembre"],
        &["december", "dezember", "décembre", "diciembre"],
    ];
    let stem = word.strip_suffix('s').unwrap_or(word);
    let place = |lists: &[&[&str]]| {
        lists
            .iter()
            .position(|names| names.contains(&word) || names.contains(&stem))
    };
    let quantity = |dimension, value: usize| {
        Some(Quantity {
            dimension,
            value: value as f64,
        })
    };
    if let Some(day) = place(&DAYS) {
        return quantity(Dimension::Weekday, day);
    }
    quantity(Dimension::Month, place(&MONTHS)? + 1)
}
