use hearth_api::ErrorCode;
use hearth_api::methods::profile::{
    Backup, BackupParams, ChangeProtection, ChangeProtectionParams, Restore, RestoreParams, Wipe, WipeParams,
};
use hearth_api::methods::{chats, settings};
use hearth_api::types::{NewProtection, SettingsChange};
use hearth_core::{Engine, Unlock};

use crate::kit::{Bench, Via, both, code, options};

both! {
    async fn a_backup_comes_back_and_a_bad_one_changes_nothing(via: Via) {
        let bench = Bench::new(via).await;
        let old = bench.say(None, "the old days").await.unwrap().chat;
        let change = SettingsChange { max_reply_tokens: Some(77), ..Default::default() };
        bench.call::<settings::Set>(change).await.unwrap();
        let path = bench.dir.path().join("backup");
        let backup = BackupParams { path: path.clone(), passphrase: "pass".to_owned().into() };
        assert!(bench.call::<Backup>(backup).await.unwrap().bytes > 0);
        bench.call::<chats::Delete>(chats::DeleteParams { which: chats::Selection::All }).await.unwrap();
        let new = bench.say(None, "the new days").await.unwrap().chat;

        let restore = RestoreParams { path: path.clone(), passphrase: "pass".to_owned().into(), replace: false };
        assert_eq!(code(bench.call::<Restore>(restore.clone()).await), ErrorCode::InvalidRequest);
        let wrong = RestoreParams { passphrase: "wrong".to_owned().into(), replace: true, ..restore.clone() };
        assert_eq!(code(bench.call::<Restore>(wrong).await), ErrorCode::WrongKey);
        bench.call::<chats::Show>(chats::ShowParams { chat: new, leaf: None }).await.unwrap();

        bench.call::<Restore>(RestoreParams { replace: true, ..restore }).await.unwrap();
        bench.call::<chats::Show>(chats::ShowParams { chat: old, leaf: None }).await.unwrap();
        assert_eq!(code(bench.call::<chats::Show>(chats::ShowParams { chat: new, leaf: None }).await), ErrorCode::NotFound);
        assert_eq!(bench.engine.settings().max_reply_tokens, Some(77));
        let dir = bench.stop().await;
        let fake = std::sync::Arc::new(crate::fake::FakeLoader::new(100));
        let engine = Engine::open(options(dir.path(), fake)).await.unwrap();
        assert_eq!(engine.list_chats(9, 0).await.unwrap().len(), 1);
        engine.stop().await;
    }

    async fn a_passphrase_is_changed_only_by_who_knows_it(via: Via) {
        let bench = Bench::new(via).await;
        let chat = bench.say(None, "hello").await.unwrap().chat;
        let to = |current: Option<&str>, new: &str| ChangeProtectionParams {
            current_passphrase: current.map(|text| text.to_owned().into()),
            new: NewProtection::Passphrase { passphrase: new.to_owned().into() },
        };
        bench.call::<ChangeProtection>(to(None, "one")).await.unwrap();
        assert_eq!(code(bench.call::<ChangeProtection>(to(None, "two")).await), ErrorCode::Locked);
        assert_eq!(code(bench.call::<ChangeProtection>(to(Some("zero"), "two")).await), ErrorCode::WrongKey);
        bench.call::<ChangeProtection>(to(Some("one"), "two")).await.unwrap();
        let dir = bench.stop().await;
        let mut options = options(dir.path(), std::sync::Arc::new(crate::fake::FakeLoader::new(100)));
        options.unlock = Unlock::with_passphrase("one");
        assert!(matches!(Engine::open(options.clone()).await, Err(hearth_core::EngineError::WrongKey)));
        options.unlock = Unlock::with_passphrase("two");
        let engine = Engine::open(options).await.unwrap();
        engine.show_chat(chat, None).await.unwrap();
        engine.stop().await;
    }

    async fn wiping_leaves_no_profile(via: Via) {
        let bench = Bench::new(via).await;
        bench.say(None, "hello").await.unwrap();
        assert_eq!(code(bench.call::<Wipe>(WipeParams { confirm: false }).await), ErrorCode::InvalidRequest);
        bench.call::<Wipe>(WipeParams { confirm: true }).await.unwrap();
        bench.engine.stopping().await;
        let dir = bench.stop().await;
        let home = crate::kit::home_of(dir.path());
        assert!(!home.join("hearth.db").exists() && !home.join("hearth.key").exists());
    }
}
