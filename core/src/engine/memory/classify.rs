//! What a fact that a person writes is about, told from its words: no model is asked for what has to be kept at once.
//!
//! English, German, French and Spanish; anything else is biography. The person sees the kind and can change it.

use hearth_store::MemoryKind;

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
         must mustn never always niemals immer jamais toujours nunca siempre cannot can't darf",
    ),
    (
        MemoryKind::Context,
        "today tonight currently right-now this-week at-the-moment heute gerade momentan diese-woche \
         aujourd'hui en-ce-moment cette-semaine hoy ahora esta-semana tired busy müde fatigué cansad",
    ),
    (
        MemoryKind::Event,
        "yesterday tomorrow next-week last-week appointment wedding exam flight gestern morgen termin hochzeit \
         prüfung hier demain rendez-vous mariage ayer mañana cita boda birthday-party booked graduat",
    ),
    (
        MemoryKind::Preference,
        "prefer love loves like likes hate hates dislike enjoy favour favor fan-of rather mag liebe hasse lieber \
         bevorzug lieblings aime adore déteste préfér gusta prefier encanta odi",
    ),
];

const SENSITIVE: &str = "allerg intoleran anaphyla coeliac celiac diabet asthma cancer depress anxiety adhd autis hiv \
     pregnan disab medica insulin migraine epilep therap diagnos disease illness surgery blood religio church mosque \
     synagogue christian catholic protestant muslim islam jewish hindu buddhis atheis pray politic vote voted voter \
     republican democrat socialist conservative liberal union gay lesbian bisexual transgender queer sexual ethnic \
     race krebs krankheit schwanger zucker glaube kirche jüdisch katholisch evangelisch partei gewerkschaft schwul \
     lesbisch maladie enceinte cancer église musulman juif syndicat enfermedad embarazad iglesia sindicato";

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
    let kind = KINDS
        .into_iter()
        .find(|(_, marks)| has(marks))
        .map_or(MemoryKind::Biography, |(kind, _)| kind);
    Told {
        kind,
        sensitive: has(SENSITIVE),
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
        check("💥", MemoryKind::Biography, false);
    }
}
