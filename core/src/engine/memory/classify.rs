//! What a fact that a person writes is about, told from its words: no model is asked for what has to be kept at once.
//!
//! English, German, French and Spanish; anything else is biography. The person sees the kind and can change it.

use hearth_store::MemoryKind;

use crate::memory::extract::is_sensitive;

/// What the words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: MemoryKind,
    /// A special category of personal data (GDPR article 9).
    pub(super) sensitive: bool,
}

/// Beginnings of words; the first kind that has one of them is taken.
const KINDS: [(MemoryKind, &str); 4] = [
    (
        MemoryKind::Constraint,
        "allerg intoleran anaphyla coeliac celiac zöliak unverträglich halal kosher koscher vegan vegetari végétar \
         mustn't must-not not-allowed can't-eat cannot-eat can't-drink cannot-drink can't-have cannot-have \
         can't-take cannot-take darf-nicht darf-kein darf-keine darf-keinen",
    ),
    (
        MemoryKind::Context,
        "today tonight currently right-now this-week at-the-moment heute gerade momentan diese-woche \
         aujourd'hui en-ce-moment cette-semaine hoy ahora esta-semana tired busy müde fatigué cansad",
    ),
    (
        MemoryKind::Event,
        "yesterday tomorrow next-week last-week appointment wedding exam flight gestern morgen termin hochzeit \
         prüfung hier-soir demain rendez-vous mariage ayer mañana cita boda birthday-party booked graduat",
    ),
    (
        MemoryKind::Preference,
        "prefer love loves like likes hate hates dislike enjoy favour favor fan-of rather mag liebe hasse lieber \
         bevorzug lieblings aime adore déteste préfér gusta prefier encanta odi",
    ),
];

/// A fact that begins with one of these is a rule for everything that follows: "Never call me before nine". Elsewhere they
/// say how often.
const RULES: [&str; 8] = [
    "never", "always", "niemals", "immer", "jamais", "toujours", "nunca", "siempre",
];

/// German: then "hier" is a place and not, as in French, a day.
const GERMAN: [&str; 10] = [
    "ich", "wir", "mein", "meine", "ist", "bin", "wohne", "lebe", "unser", "unsere",
];

/// Tells kind and sensitivity.
pub(super) fn classify(text: &str) -> Told {
    let lower = text.to_lowercase().replace('’', "'");
    let words: Vec<&str> = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .collect();
    let joined = format!(" {} ", words.join(" "));
    let has = |marks: &str| {
        marks.split_whitespace().any(|mark| match mark.contains('-') {
            true => joined.contains(&format!(" {} ", mark.replace('-', " "))),
            // Short marks are whole words: `like` is one, `likely` is not.
            false if mark.chars().count() <= 5 => words.contains(&mark),
            false => words.iter().any(|word| word.starts_with(mark)),
        })
    };
    let found = KINDS
        .into_iter()
        .find(|(_, marks)| has(marks))
        .map(|(kind, _)| kind);
    let kind = match found {
        _ if words.first().is_some_and(|first| RULES.contains(first)) => MemoryKind::Constraint,
        Some(kind) => kind,
        None if words.contains(&"hier") && !words.iter().any(|word| GERMAN.contains(word)) => {
            MemoryKind::Event
        }
        None => MemoryKind::Biography,
    };
    Told {
        kind,
        sensitive: is_sensitive(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_the_kind() {
        let check = |text: &str, kind, sensitive| {
            assert_eq!(classify(text), Told { kind, sensitive }, "{text}");
        };
        check("I'm allergic to peanuts", MemoryKind::Constraint, true);
        check("Never call me before nine", MemoryKind::Constraint, false);
        check("My dog is called Rex", MemoryKind::Biography, false);
        check("I prefer trains to planes", MemoryKind::Preference, false);
        check("It is likely that I live in Lyon", MemoryKind::Biography, false);
        check("I'm tired today", MemoryKind::Context, false);
        check("My flight to Oslo is tomorrow", MemoryKind::Event, false);
        check("I vote for the greens", MemoryKind::Biography, true);
        check("Ich bin allergisch gegen Nüsse", MemoryKind::Constraint, true);
        check("Onthoud dat ik zwanger ben", MemoryKind::Biography, true);
        check("I use a wheelchair", MemoryKind::Biography, true);
        check("I came here as a refugee", MemoryKind::Biography, true);
        check("I must buy milk", MemoryKind::Biography, false);
        check("My sister always calls on Sundays", MemoryKind::Biography, false);
        check("I can't eat gluten", MemoryKind::Constraint, false);
        check("Ich wohne hier", MemoryKind::Biography, false);
        check("Ma sœur est venue hier", MemoryKind::Event, false);
        check("💥", MemoryKind::Biography, false);
    }
}
