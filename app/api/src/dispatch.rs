//! From a method's name and JSON parameters to the engine and back.

use std::time::Duration;

use hearth_core::{Engine, EngineError};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ErrorCode};
use crate::methods::{self, Empty, Method, chats, memory, models, profile, sync};
use crate::types::{EngineEvent, ErasureId, RecallParams};

/// Events that may wait for a slow caller before the work waits for it.
const EVENT_QUEUE: usize = 32;
/// Size of the pieces of an export, bytes.
const EXPORT_PIECE_BYTES: usize = 64 << 10;

/// One call on its way to the engine.
pub(crate) struct Request {
    pub(crate) engine: Engine,
    pub(crate) params: Value,
    pub(crate) events: mpsc::Sender<Value>,
    pub(crate) cancel: CancellationToken,
}

/// What a handler may use beside its parameters.
struct Context<E> {
    engine: Engine,
    events: mpsc::Sender<E>,
    cancel: CancellationToken,
}

impl Request {
    async fn run<M, F>(
        self,
        handler: impl FnOnce(Context<M::Event>, M::Params) -> F + Send,
    ) -> Result<Value, ApiError>
    where
        M: Method,
        F: Future<Output = Result<M::Output, ApiError>> + Send,
    {
        let params = if self.params.is_null() {
            json!({})
        } else {
            self.params
        };
        if !params.is_object() {
            let message = format!("the parameters of {} must be an object", M::NAME);
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        let params: M::Params = serde_json::from_value(params).map_err(|error| {
            ApiError::new(
                ErrorCode::InvalidRequest,
                format!("the parameters of {} are not valid: {error}", M::NAME),
            )
        })?;
        let (events, mut from_handler) = mpsc::channel::<M::Event>(EVENT_QUEUE);
        let handled = handler(
            Context {
                engine: self.engine,
                events,
                cancel: self.cancel,
            },
            params,
        );
        let to_caller = self.events;
        let forward = async move {
            while let Some(event) = from_handler.recv().await {
                let Ok(event) = serde_json::to_value(event) else {
                    continue;
                };
                if to_caller.send(event).await.is_err() {
                    break;
                }
            }
        };
        let (result, ()) = tokio::join!(handled, forward);
        serde_json::to_value(result?).map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
    }
}

macro_rules! table {
    ($request:expr, $name:expr, { $($method:ty => $handler:expr,)* }) => {
        match $name {
            $(<$method as Method>::NAME => $request.run::<$method, _>($handler).await,)*
            other => Err(ApiError::new(ErrorCode::UnknownMethod, format!("there is no method {other:?}"))),
        }
    };
}

/// Names of all methods.
pub const METHOD_NAMES: &[&str] = &[
    methods::engine::GetStatus::NAME,
    methods::engine::Watch::NAME,
    methods::engine::Shutdown::NAME,
    methods::chat::Send::NAME,
    methods::chat::Edit::NAME,
    methods::chat::Regenerate::NAME,
    methods::chat::Stop::NAME,
    chats::List::NAME,
    chats::Show::NAME,
    chats::Search::NAME,
    chats::Rename::NAME,
    chats::Configure::NAME,
    chats::Delete::NAME,
    chats::SetHead::NAME,
    chats::Export::NAME,
    chats::Import::NAME,
    methods::generate::Complete::NAME,
    methods::generate::Embed::NAME,
    models::List::NAME,
    models::Pull::NAME,
    models::Verify::NAME,
    models::Remove::NAME,
    models::Import::NAME,
    models::Use::NAME,
    models::Unload::NAME,
    memory::Add::NAME,
    memory::List::NAME,
    memory::Show::NAME,
    memory::Search::NAME,
    memory::Edit::NAME,
    memory::Confirm::NAME,
    memory::Pin::NAME,
    memory::PreviewErase::NAME,
    memory::Erase::NAME,
    memory::Receipts::NAME,
    memory::Receipt::NAME,
    memory::Export::NAME,
    memory::Import::NAME,
    memory::Pause::NAME,
    memory::Resume::NAME,
    memory::Stats::NAME,
    memory::Bio::NAME,
    memory::Review::NAME,
    memory::Work::NAME,
    memory::Recall::NAME,
    methods::settings::Get::NAME,
    methods::settings::Set::NAME,
    profile::ChangeProtection::NAME,
    profile::Backup::NAME,
    profile::Restore::NAME,
    profile::Wipe::NAME,
    sync::CreateAccount::NAME,
    sync::RecoverAccount::NAME,
    sync::FindAccount::NAME,
    sync::Drill::NAME,
    sync::MoveAccount::NAME,
    sync::ProposePhrase::NAME,
    sync::ChangePhrase::NAME,
    sync::GetSyncStatus::NAME,
    sync::SyncOnce::NAME,
    sync::SyncRestored::NAME,
    sync::DismissFindings::NAME,
    sync::ListDevices::NAME,
    sync::Pair::NAME,
    sync::Approve::NAME,
    sync::AnswerPairing::NAME,
    sync::RevokeDevice::NAME,
    sync::RenameDevice::NAME,
    sync::RotateKeys::NAME,
    sync::EraseEverywhere::NAME,
    sync::ListErasures::NAME,
    sync::WriteCertificate::NAME,
];

/// Runs the method called `name`.
pub(crate) async fn dispatch(request: Request, name: &str) -> Result<Value, ApiError> {
    table!(request, name, {
        methods::engine::GetStatus => |c, _| async move { Ok(c.engine.status().await?) },
        methods::engine::Watch => |c, _| watch(c),
        methods::engine::Shutdown => |c, _| async move {
            c.engine.request_stop();
            Ok(Empty {})
        },
        methods::chat::Send => |c, p| async move {
            Ok(methods::chat::Reply { message: c.engine.send(p, c.events, c.cancel).await? })
        },
        methods::chat::Edit => |c, p| async move { Ok(c.engine.edit(p, c.events, c.cancel).await?) },
        methods::chat::Regenerate => |c, p| async move {
            Ok(methods::chat::Reply { message: c.engine.regenerate(p, c.events, c.cancel).await? })
        },
        methods::chat::Stop => |c, p| async move {
            Ok(methods::chat::Stopped { stopped: c.engine.stop_reply(p.reply).await? })
        },
        chats::List => |c, p| async move {
            let chats = c.engine.list_chats(p.limit.unwrap_or(1000).min(1000), p.offset.unwrap_or(0)).await?;
            Ok(chats::Listed { chats })
        },
        chats::Show => |c, p| async move { Ok(c.engine.show_chat(p.chat, p.leaf).await?) },
        chats::Search => |c, p| async move {
            Ok(chats::Found { hits: c.engine.search(p.text, p.limit.unwrap_or(20).min(1000), p.chat).await? })
        },
        chats::Rename => |c, p| async move {
            c.engine.rename_chat(p.chat, p.title).await?;
            Ok(Empty {})
        },
        chats::Configure => |c, p| async move {
            Ok(c.engine.configure_chat(p.chat, p.system, p.model, p.memory).await?)
        },
        chats::Delete => |c, p| async move {
            Ok(chats::Deleted { chats: c.engine.delete_chats(selected(p.which)).await? })
        },
        chats::SetHead => |c, p| async move { Ok(c.engine.set_head(p.chat, p.message).await?) },
        chats::Export => export,
        chats::Import => import,
        methods::generate::Complete => |c, p| async move { Ok(c.engine.complete(p, c.events, c.cancel).await?) },
        methods::generate::Embed => |c, p| async move { Ok(c.engine.embed(p, c.cancel).await?) },
        models::List => |c, _| async move { Ok(models::Listed { models: c.engine.list_models().await? }) },
        models::Pull => |c, p| async move {
            Ok(models::Pulled { models: c.engine.pull_models(p.models, c.events, c.cancel).await? })
        },
        models::Verify => |c, p| async move {
            let bad_files = c.engine.verify_model(p.model, c.events, c.cancel).await?;
            Ok(models::Verified { ok: bad_files.is_empty(), bad_files })
        },
        models::Remove => |c, p| async move {
            c.engine.remove_model(p.model).await?;
            Ok(Empty {})
        },
        models::Import => |c, p| async move { Ok(c.engine.import_model(p.path, c.events, c.cancel).await?) },
        models::Use => |c, p| async move { Ok(c.engine.use_model(p.model).await?) },
        models::Unload => |c, p| async move {
            c.engine.unload_model(p.model).await?;
            Ok(Empty {})
        },
        memory::Add => |c, p| async move { Ok(c.engine.add_memory(p).await?) },
        memory::List => |c, p| async move { Ok(c.engine.list_memories(p).await?) },
        memory::Show => |c, p| async move { Ok(c.engine.show_memory(p.memory).await?) },
        memory::Search => |c, p| async move {
            let params = RecallParams { query: p.text, limit: p.limit, ..RecallParams::default() };
            Ok(c.engine.recall(params).await?)
        },
        memory::Edit => |c, p| async move { Ok(c.engine.edit_memory(p).await?) },
        memory::Confirm => |c, p| async move { Ok(c.engine.confirm_memory(p.memory).await?) },
        memory::Pin => |c, p| async move { Ok(c.engine.pin_memory(p.memory, p.pinned).await?) },
        memory::PreviewErase => |c, p| async move { Ok(c.engine.preview_erase(p.scope, p.take_memories).await?) },
        memory::Erase => |c, p| async move {
            if !p.confirm {
                return Err(ApiError::new(ErrorCode::InvalidRequest, "erasing needs to be confirmed"));
            }
            Ok(c.engine.erase(p).await?)
        },
        memory::Receipts => |c, p| async move { Ok(c.engine.list_receipts(p).await?) },
        memory::Receipt => |c, p| async move { Ok(c.engine.show_receipt(p.erasure).await?) },
        memory::Export => export_memories,
        memory::Import => import_memories,
        memory::Pause => |c, _| async move {
            c.engine.pause_memory(true).await?;
            Ok(Empty {})
        },
        memory::Resume => |c, _| async move {
            c.engine.pause_memory(false).await?;
            Ok(Empty {})
        },
        memory::Stats => |c, _| async move { Ok(c.engine.memory_stats().await?) },
        memory::Bio => |c, _| async move { Ok(c.engine.biography().await?) },
        memory::Review => |c, p| async move {
            Ok(memory::Reviewed { question: c.engine.review_question(p.now).await? })
        },
        memory::Work => |c, _| async move { Ok(c.engine.work_on_memory(c.cancel).await?) },
        memory::Recall => |c, p| async move { Ok(c.engine.recall(p).await?) },
        methods::settings::Get => |c, _| async move { Ok(c.engine.settings()) },
        methods::settings::Set => |c, p| async move { Ok(c.engine.change_settings(p).await?) },
        profile::ChangeProtection => |c, p| async move {
            c.engine.change_protection(p.current_passphrase, p.new).await?;
            Ok(Empty {})
        },
        profile::Backup => |c, p| async move {
            Ok(profile::BackedUp { bytes: c.engine.backup(p.path, p.passphrase).await? })
        },
        profile::Restore => |c, p| async move {
            c.engine.restore(p.path, p.passphrase, p.replace).await?;
            Ok(Empty {})
        },
        profile::Wipe => |c, p| async move {
            if !p.confirm {
                return Err(ApiError::new(ErrorCode::InvalidRequest, "wiping needs to be confirmed"));
            }
            c.engine.wipe().await?;
            Ok(Empty {})
        },
        sync::CreateAccount => |c, p| async move { Ok(c.engine.create_account(p).await?) },
        sync::FindAccount => |c, p| async move { Ok(c.engine.find_account(p).await?) },
        sync::RecoverAccount => |c, p| async move { Ok(c.engine.recover_account(p).await?) },
        sync::Drill => |c, p| async move { Ok(sync::Drilled { epoch: c.engine.drill(p.phrase).await? }) },
        sync::MoveAccount => |c, p| async move { Ok(c.engine.move_account(p).await?) },
        sync::ProposePhrase => |c, _| async move {
            Ok(sync::ProposedPhrase { phrase: c.engine.propose_phrase() })
        },
        sync::ChangePhrase => |c, p| async move { Ok(c.engine.change_phrase(p.old, &p.new).await?) },
        sync::GetSyncStatus => |c, _| async move { Ok(c.engine.sync_status().await?) },
        sync::SyncOnce => |c, p| async move {
            let limit = Duration::from_secs(p.limit_seconds.unwrap_or(30).min(3600).into());
            Ok(c.engine.sync_once(limit).await?)
        },
        sync::DismissFindings => |c, _| async move { Ok(c.engine.dismiss_findings().await?) },
        sync::SyncRestored => |c, _| async move { Ok(c.engine.sync_restored().await?) },
        sync::ListDevices => |c, _| async move {
            Ok(sync::DevicesListed { devices: c.engine.list_devices().await? })
        },
        sync::Pair => |c, p| async move { Ok(c.engine.pair(p, c.events, c.cancel).await?) },
        sync::Approve => |c, p| async move { Ok(c.engine.approve(p.code, c.events, c.cancel).await?) },
        sync::AnswerPairing => |c, p| async move {
            c.engine.answer_pairing(p).await?;
            Ok(Empty {})
        },
        sync::RevokeDevice => |c, p| async move { Ok(c.engine.revoke_device(p.device, p.lost).await?) },
        sync::RenameDevice => |c, p| async move { Ok(c.engine.rename_device(p.device, p.name).await?) },
        sync::RotateKeys => |c, _| async move { Ok(c.engine.rotate_keys().await?) },
        sync::EraseEverywhere => |c, p| async move {
            if !p.erase.confirm {
                return Err(ApiError::new(ErrorCode::InvalidRequest, "erasing needs to be confirmed"));
            }
            Ok(c.engine.erase_everywhere(p.erase, c.events, c.cancel).await?)
        },
        sync::ListErasures => |c, _| async move {
            Ok(sync::ErasuresListed { erasures: c.engine.list_erasures().await? })
        },
        sync::WriteCertificate => |c, p| async move {
            let (bytes, complete) = c.engine.certificate(p.erasure, p.path).await?;
            Ok(sync::CertificateWritten { bytes, complete })
        },
    })
}

fn selected(which: chats::Selection) -> Option<Vec<crate::types::ChatId>> {
    match which {
        chats::Selection::All => None,
        chats::Selection::Chats { chats } => Some(chats),
    }
}

async fn watch(context: Context<EngineEvent>) -> Result<Empty, ApiError> {
    let mut changes = context.engine.watch();
    loop {
        let event = tokio::select! {
            change = changes.recv() => match change {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(count)) => EngineEvent::Missed { count },
                Err(broadcast::error::RecvError::Closed) => return Ok(Empty {}),
            },
            () = context.cancel.cancelled() => return Ok(Empty {}),
        };
        let last = event == EngineEvent::Stopping;
        if context.events.send(event).await.is_err() || last {
            return Ok(Empty {});
        }
    }
}

async fn export(
    context: Context<chats::ExportEvent>,
    params: chats::ExportParams,
) -> Result<chats::Exported, ApiError> {
    let erased = context.engine.latest_erasure().await?;
    let document = context.engine.export_chats(selected(params.which)).await?;
    in_pieces(&context, &document, erased).await
}

async fn export_memories(
    context: Context<chats::ExportEvent>,
    _: Empty,
) -> Result<chats::Exported, ApiError> {
    let erased = context.engine.latest_erasure().await?;
    let document = context.engine.export_memories().await?;
    in_pieces(&context, &document, erased).await
}

async fn import_memories(
    context: Context<methods::NoEvent>,
    params: memory::ImportParams,
) -> Result<crate::types::MemoryImported, ApiError> {
    use hearth_core::engine::{ImportSource, MemoryFormat};
    let source = match params.source {
        chats::ImportSource::File { path } => ImportSource::File(path),
        chats::ImportSource::Text { text } => ImportSource::Text(text),
    };
    let format = match params.format {
        memory::ImportFormat::Auto => MemoryFormat::Auto,
        memory::ImportFormat::Hearth => MemoryFormat::Hearth,
        memory::ImportFormat::Facts => MemoryFormat::Facts,
    };
    Ok(context.engine.import_memories(source, format).await?)
}

/// Sends a document piece by piece. It is as of one moment: what was erased since, after `erased`, may stand in it, and the
/// caller is told.
async fn in_pieces(
    context: &Context<chats::ExportEvent>,
    document: &str,
    erased: Option<ErasureId>,
) -> Result<chats::Exported, ApiError> {
    let mut rest = document;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(EXPORT_PIECE_BYTES));
        if context.cancel.is_cancelled()
            || context
                .events
                .send(chats::ExportEvent { chunk: piece.into() })
                .await
                .is_err()
        {
            return Err(EngineError::Cancelled.into());
        }
        rest = after;
    }
    if context.engine.latest_erasure().await? != erased {
        return Err(chats::erased_meanwhile());
    }
    Ok(chats::Exported {
        bytes: document.len() as u64,
    })
}

async fn import(
    context: Context<methods::NoEvent>,
    params: chats::ImportParams,
) -> Result<chats::Imported, ApiError> {
    use hearth_core::engine::{ImportFormat, ImportSource};
    let source = match params.source {
        chats::ImportSource::File { path } => ImportSource::File(path),
        chats::ImportSource::Text { text } => ImportSource::Text(text),
    };
    let format = match params.format {
        chats::ImportFormat::Auto => ImportFormat::Auto,
        chats::ImportFormat::Hearth => ImportFormat::Hearth,
        chats::ImportFormat::Chatgpt => ImportFormat::ChatGpt,
        chats::ImportFormat::Lines => ImportFormat::Lines,
    };
    let report = context
        .engine
        .import_chats(source, format, params.remember)
        .await?;
    Ok(chats::Imported {
        chats: (report.chats_added + report.chats_extended) as u32,
        messages: report.messages_added as u32,
        skipped_chats: report.chats_unchanged as u32,
        warnings: report
            .skipped
            .into_iter()
            .map(|skipped| format!("{} ({})", skipped.reason, skipped.count))
            .collect(),
    })
}
