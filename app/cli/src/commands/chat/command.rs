//! What a typed line means.

pub(super) const HELP: &str = "\
/new                a new chat
/regenerate         another answer to your last line (also /again)
/edit [TEXT]        change your last line and have it answered anew
/model [ID]         answer with another model, or list those that are here
/system [TEXT]      instructions to the model for this chat; empty removes them
/title TEXT         name this chat
/open CHAT          go on with another chat (its identifier, or `last`)
/show               print this chat
/sources            what the last answer drew on of what is remembered
/right MEMORY       a memory is right
/wrong MEMORY TEXT  a memory is wrong: this is right
/context            what the model saw for its last answer, and how long it took
/quit               leave (also Ctrl-D)
A line that ends with \\ goes on in the next one. A line that begins with // is said with one /.
Ctrl-C stops an answer; what had arrived is kept.";

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    Say(String),
    Help,
    New,
    Regenerate,
    Edit(Option<String>),
    Model(Option<String>),
    System(String),
    Title(String),
    Open(String),
    Show,
    Context,
    Sources,
    Right(String),
    Corrected(String, String),
    Quit,
    /// A command that can't be obeyed, with what to type instead.
    Wrong(String),
}

/// Reads a line: text to say, or a command.
pub(super) fn read(line: &str) -> Typed {
    let line = line.trim();
    if let Some(said) = line.strip_prefix("//") {
        return Typed::Say(format!("/{said}"));
    }
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() {
            Typed::Nothing
        } else {
            Typed::Say(line.to_owned())
        };
    };
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let optional = (!rest.is_empty()).then(|| rest.to_owned());
    let with = |make: fn(String) -> Typed, what: &str| match &optional {
        Some(rest) => make(rest.clone()),
        None => Typed::Wrong(format!("/{name} needs {what}.")),
    };
    match name {
        "help" | "h" | "?" => Typed::Help,
        "new" => Typed::New,
        "regenerate" | "again" | "retry" => Typed::Regenerate,
        "edit" => Typed::Edit(optional),
        "model" | "models" => Typed::Model(optional),
        "system" => Typed::System(rest.to_owned()),
        "title" | "rename" => with(Typed::Title, "a name"),
        "open" | "chat" => with(Typed::Open, "a chat's identifier"),
        "show" => Typed::Show,
        "context" => Typed::Context,
        "sources" | "source" => Typed::Sources,
        "right" | "confirm" => with(Typed::Right, "a memory's identifier"),
        "wrong" | "correct" => match rest.split_once(char::is_whitespace) {
            Some((memory, text)) => Typed::Corrected(memory.to_owned(), text.trim().to_owned()),
            None => Typed::Wrong("/wrong needs a memory's identifier and what is right.".to_owned()),
        },
        "quit" | "exit" | "q" | "bye" => Typed::Quit,
        _ => Typed::Wrong(format!(
            "There is no command /{name}. /help lists them; begin with // to say a line that starts with /."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_and_commands_obeyed() {
        assert_eq!(read("  hello / there "), Typed::Say("hello / there".into()));
        assert_eq!(
            read("//etc/passwd is what?"),
            Typed::Say("/etc/passwd is what?".into())
        );
        assert_eq!(read(" "), Typed::Nothing);
        assert_eq!(read("/again"), Typed::Regenerate);
        assert_eq!(read("/edit  two words "), Typed::Edit(Some("two words".into())));
        assert_eq!(read("/model"), Typed::Model(None));
        assert_eq!(read("/system"), Typed::System(String::new()));
        assert!(matches!(read("/title"), Typed::Wrong(_)) && matches!(read("/etc/passwd"), Typed::Wrong(_)));
        assert_eq!(read("/quit"), Typed::Quit);
        assert_eq!(
            read("/wrong 12ab  I live in Lyon"),
            Typed::Corrected("12ab".into(), "I live in Lyon".into())
        );
        assert!(matches!(read("/wrong 12ab"), Typed::Wrong(_)));
    }
}
