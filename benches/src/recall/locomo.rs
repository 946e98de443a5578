//! LoCoMo's format: sessions of dated turns between two people, questions with the turns that answer them.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use time::{Date, Month, Time};

use super::conversation::{Asked, Conversation, Turn};

/// Reads a file of conversations. Questions whose evidence is missing or not among the turns are left out.
pub(super) fn read(path: &Path) -> Result<Vec<Conversation>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let all: Vec<Value> = serde_json::from_str(&text).context("not a list of conversations")?;
    all.iter().map(conversation).collect()
}

fn conversation(sample: &Value) -> Result<Conversation> {
    let talk = sample["conversation"].as_object().context("no conversation")?;
    let mut sessions: Vec<(usize, &Vec<Value>)> = talk
        .iter()
        .filter_map(|(key, turns)| Some((key.strip_prefix("session_")?.parse().ok()?, turns.as_array()?)))
        .collect();
    sessions.sort_by_key(|(number, _)| *number);
    let mut turns = Vec::new();
    let mut places = HashMap::new();
    for (number, said) in sessions {
        let date = talk
            .get(&format!("session_{number}_date_time"))
            .and_then(Value::as_str)
            .and_then(moment)
            .with_context(|| format!("session {number} has no date"))?;
        for (at, turn) in said.iter().enumerate() {
            let field = |name: &str| turn[name].as_str().unwrap_or_default().to_owned();
            places.insert(field("dia_id"), turns.len());
            turns.push(Turn {
                speaker: Some(field("speaker")),
                by_person: true,
                text: field("text"),
                caption: field("blip_caption"),
                sitting: number,
                at_ms: date + at as i64 * 60_000,
            });
        }
    }
    let mut questions = Vec::new();
    for asked in sample["qa"].as_array().context("no questions")? {
        let mut evidence = Vec::new();
        for named in asked["evidence"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            for place in ids(named).filter_map(|id| places.get(&id).copied()) {
                if !evidence.contains(&place) {
                    evidence.push(place);
                }
            }
        }
        if !evidence.is_empty() {
            questions.push(Asked {
                text: asked["question"]
                    .as_str()
                    .context("a question without text")?
                    .to_owned(),
                category: asked["category"].to_string(),
                evidence,
                statements: Vec::new(),
            });
        }
    }
    Ok(Conversation { turns, questions })
}

/// The ids in an evidence string: mostly one such as "D1:3", sometimes "D8:6; D9:17" or "D:11:26".
fn ids(named: &str) -> impl Iterator<Item = String> {
    named.split('D').filter_map(|part| {
        let mut numbers = part
            .split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty());
        let (session, turn) = (numbers.next()?, numbers.next()?);
        let plain = |n: &str| n.trim_start_matches('0').to_owned();
        Some(format!("D{}:{}", plain(session), plain(turn)))
    })
}

/// "1:56 pm on 8 May, 2023" in milliseconds since the Unix epoch.
fn moment(text: &str) -> Option<i64> {
    let (clock, date) = text.split_once(" on ")?;
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, half) = rest.split_once(' ')?;
    let hour = hours.trim().parse::<u8>().ok()? % 12 + if half.trim() == "pm" { 12 } else { 0 };
    let mut parts = date.split([' ', ',']).filter(|part| !part.is_empty());
    let day = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = (1..=12)
        .filter_map(|n| Month::try_from(n).ok())
        .find(|m| m.to_string() == name)?;
    let year = parts.next()?.parse().ok()?;
    let time = Time::from_hms(hour, minutes.parse().ok()?, 0).ok()?;
    let moment = Date::from_calendar_date(year, month, day)
        .ok()?
        .with_time(time)
        .assume_utc();
    Some(moment.unix_timestamp() * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1:56 pm on 8 May, 2023"), Some(1_683_554_160_000));
        assert_eq!(moment("12:09 am on 13 September, 2023"), Some(1_694_563_740_000));
        assert_eq!(moment("soon"), None);
    }

    #[test]
    fn evidence_is_read_as_it_was_meant() {
        let read = |named: &str| ids(named).collect::<Vec<_>>();
        assert_eq!(read("D1:3"), ["D1:3"]);
        assert_eq!(read("D8:6; D9:17"), ["D8:6", "D9:17"]);
        assert_eq!(read("D:11:26"), ["D11:26"]);
        assert_eq!(read("D30:05"), ["D30:5"]);
        assert_eq!(read("D"), [""; 0]);
    }
}
