//! The TypeScript of all types and methods, in `ui/src/api/`; a test fails when it is stale.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ts_rs::{Config, TS, TypeVisitor};

use crate::methods::{self, Method, chat, chats, engine, generate, memory, models, profile, settings, sync};
use crate::{ApiError, types};

/// Set it to write the files instead of comparing them.
const WRITE: &str = "HEARTH_WRITE_BINDINGS";

struct Collector {
    config: Config,
    declarations: BTreeMap<String, String>,
}

impl TypeVisitor for Collector {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if T::output_path().is_none() {
            return;
        }
        let name = T::ident(&self.config);
        if let Some(known) = self.declarations.get(&name) {
            let declaration = format!("{}\n", T::decl(&self.config));
            assert!(known.ends_with(&declaration), "two types are called {name}");
            return;
        }
        let docs = T::docs().unwrap_or_default();
        self.declarations
            .insert(name, format!("{docs}export {}\n", T::decl(&self.config)));
        T::visit_dependencies(self);
    }
}

fn method<M: Method>(collector: &mut Collector, methods: &mut String) {
    collector.visit::<M::Params>();
    collector.visit::<M::Event>();
    collector.visit::<M::Output>();
    let config = &collector.config;
    let (params, event, output) = (
        M::Params::name(config),
        M::Event::name(config),
        M::Output::name(config),
    );
    let _ = writeln!(
        methods,
        "  {:?}: {{ params: {params}; event: {event}; output: {output} }};",
        M::NAME
    );
}

fn generate_all() -> String {
    let mut collector = Collector {
        config: Config::new().with_large_int("number"),
        declarations: BTreeMap::new(),
    };
    let c = &mut collector;
    let mut map = String::new();
    let m = &mut map;
    method::<engine::GetStatus>(c, m);
    method::<engine::Watch>(c, m);
    method::<engine::Shutdown>(c, m);
    method::<chat::Send>(c, m);
    method::<chat::Edit>(c, m);
    method::<chat::Regenerate>(c, m);
    method::<chat::Stop>(c, m);
    method::<chats::List>(c, m);
    method::<chats::Show>(c, m);
    method::<chats::Search>(c, m);
    method::<chats::Rename>(c, m);
    method::<chats::Configure>(c, m);
    method::<chats::Delete>(c, m);
    method::<chats::SetHead>(c, m);
    method::<chats::Export>(c, m);
    method::<chats::Import>(c, m);
    method::<generate::Complete>(c, m);
    method::<generate::Embed>(c, m);
    method::<models::List>(c, m);
    method::<models::Pull>(c, m);
    method::<models::Verify>(c, m);
    method::<models::Remove>(c, m);
    method::<models::Import>(c, m);
    method::<models::Use>(c, m);
    method::<models::Unload>(c, m);
    method::<memory::Add>(c, m);
    method::<memory::List>(c, m);
    method::<memory::Show>(c, m);
    method::<memory::Search>(c, m);
    method::<memory::Edit>(c, m);
    method::<memory::Confirm>(c, m);
    method::<memory::Pin>(c, m);
    method::<memory::PreviewErase>(c, m);
    method::<memory::Erase>(c, m);
    method::<memory::Receipts>(c, m);
    method::<memory::Receipt>(c, m);
    method::<memory::Export>(c, m);
    method::<memory::Import>(c, m);
    method::<memory::Pause>(c, m);
    method::<memory::Resume>(c, m);
    method::<memory::Stats>(c, m);
    method::<memory::Bio>(c, m);
    method::<memory::Review>(c, m);
    method::<memory::Work>(c, m);
    method::<memory::Recall>(c, m);
    method::<settings::Get>(c, m);
    method::<settings::Set>(c, m);
    method::<profile::ChangeProtection>(c, m);
    method::<profile::Backup>(c, m);
    method::<profile::Restore>(c, m);
    method::<profile::Wipe>(c, m);
    method::<sync::CreateAccount>(c, m);
    method::<sync::FindAccount>(c, m);
    method::<sync::RecoverAccount>(c, m);
    method::<sync::Drill>(c, m);
    method::<sync::MoveAccount>(c, m);
    method::<sync::ProposePhrase>(c, m);
    method::<sync::ChangePhrase>(c, m);
    method::<sync::GetSyncStatus>(c, m);
    method::<sync::SyncOnce>(c, m);
    method::<sync::SyncRestored>(c, m);
    method::<sync::DismissFindings>(c, m);
    method::<sync::ListDevices>(c, m);
    method::<sync::Pair>(c, m);
    method::<sync::Approve>(c, m);
    method::<sync::AnswerPairing>(c, m);
    method::<sync::RevokeDevice>(c, m);
    method::<sync::RenameDevice>(c, m);
    method::<sync::RotateKeys>(c, m);
    method::<sync::EraseEverywhere>(c, m);
    method::<sync::ListErasures>(c, m);
    method::<sync::WriteCertificate>(c, m);
    collector.visit::<ApiError>();
    collector.visit::<types::EngineEvent>();
    collector.visit::<methods::NoEvent>();
    let declarations: Vec<String> = collector.declarations.into_values().collect();
    let note = "// Generated from app/api by its tests; do not edit. `HEARTH_WRITE_BINDINGS=1 cargo test -p hearth-api bindings` rewrites it.\n\n";
    format!(
        "{note}{}\n/** Every method: what it takes, what it tells while it runs, what it returns. */\nexport interface Methods {{\n{map}}}\n",
        declarations.join("\n")
    )
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/src/api/bindings.ts")
}

#[test]
fn typescript_is_up_to_date() {
    let generated = generate_all();
    for name in crate::METHOD_NAMES {
        assert!(
            generated.contains(&format!("  {name:?}: {{")),
            "{name} is missing here"
        );
    }
    let path = file();
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
        return;
    }
    let present = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert!(
        present == generated,
        "{} is stale: run this test with {WRITE}=1",
        path.display()
    );
}
