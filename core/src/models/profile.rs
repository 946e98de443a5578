//! Profiles: which models suit this machine, and why.

use super::error::PullError;
use super::events::PullEvent;
use super::machine::Machine;
use super::manifest::{Manifest, Task};
use super::marker::Installed;
use super::pull::PullOptions;
use super::store::ModelStore;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const GIB: u64 = 1 << 30;
/// Memory from which on the standard models leave room for the rest of the machine.
const STANDARD_MEMORY: u64 = 6 * GIB;
/// Memory from which on the large models do.
const LARGE_MEMORY: u64 = 12 * GIB;
/// Memory a separate graphics processor needs for the large models, where it is known.
const LARGE_GPU_MEMORY: u64 = 6 * GIB;

/// How large a set of models to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Runs anywhere; also what tests use.
    Small,
    /// For machines with 6 GiB of memory or more.
    Standard,
    /// For machines with 12 GiB or more and a graphics processor that this build can use.
    Large,
}

/// A profile together with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileChoice {
    /// The profile.
    pub profile: Profile,
    /// Why, for people: "23.4 GiB memory, no GPU: …".
    pub reason: String,
    /// True when a person chose and the machine was not asked.
    pub overridden: bool,
}

/// What to pull for a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct PullPlan {
    /// The profile and the reason for it.
    pub choice: ProfileChoice,
    /// Its models, in the order in which to pull.
    pub models: Vec<Manifest>,
    /// Bytes that are not on this machine yet; an estimate for models that are not pinned.
    pub download_bytes: u64,
    /// Where to turn when no source of a model can be reached.
    pub fallback: Option<Box<PullPlan>>,
}

/// How a plan came out.
#[derive(Debug, Clone, PartialEq)]
pub struct PulledPlan {
    /// The profile that was had in the end; its reason tells of a fallback.
    pub choice: ProfileChoice,
    /// Its models, ready.
    pub models: Vec<Installed>,
}

impl Profile {
    /// All profiles, smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Standard, Self::Large];

    /// The name used in settings and on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Standard => "standard",
            Self::Large => "large",
        }
    }

    /// Ids of the chat models worth taking, best first.
    pub const fn chat_models(self) -> &'static [&'static str] {
        match self {
            Self::Small => &["smollm2-135m-instruct-q4_1"],
            Self::Standard => &[
                "qwen3-1.7b-q4_k_m",
                "smollm2-1.7b-instruct-q4_k_m",
                "qwen3-0.6b-q4_k_m",
            ],
            Self::Large => &["qwen3-4b-q4_k_m", "qwen3-1.7b-q4_k_m"],
        }
    }

    /// Ids of the models a pull of this profile fetches: one that chats, one that embeds.
    pub const fn model_ids(self) -> [&'static str; 2] {
        [self.chat_models()[0], EMBEDDING_MODEL]
    }

    /// Chooses for a machine. `wanted` overrides, and the reason then says what the machine would have got.
    pub fn choose(machine: &Machine, wanted: Option<Self>) -> ProfileChoice {
        let facts = facts(machine);
        let (fitting, why) = Self::fitting(machine);
        match wanted {
            Some(profile) if profile != fitting => ProfileChoice {
                profile,
                reason: format!(
                    "{profile} was asked for; by itself this machine gets {fitting} ({facts}: {why})"
                ),
                overridden: true,
            },
            Some(profile) => ProfileChoice {
                profile,
                reason: format!("{profile} was asked for ({facts})"),
                overridden: true,
            },
            None => ProfileChoice {
                profile: fitting,
                reason: format!("{facts}: {why}"),
                overridden: false,
            },
        }
    }

    fn fitting(machine: &Machine) -> (Self, &'static str) {
        let usable = machine.gpu.as_ref().filter(|gpu| gpu.usable);
        if machine.memory_bytes < STANDARD_MEMORY {
            return (
                Self::Small,
                "small models, so that the rest of the machine keeps its memory",
            );
        }
        match usable {
            Some(gpu)
                if machine.memory_bytes >= LARGE_MEMORY
                    && gpu.memory_bytes.is_none_or(|bytes| bytes >= LARGE_GPU_MEMORY) =>
            {
                (Self::Large, "large models answer quickly on this GPU")
            }
            Some(_) => (
                Self::Standard,
                "standard models; the large ones would not fit beside other programs",
            ),
            None => (
                Self::Standard,
                "standard models; the large ones would answer slowly on the processor alone",
            ),
        }
    }
}

const EMBEDDING_MODEL: &str = "all-minilm-l6-v2";

fn facts(machine: &Machine) -> String {
    let memory = machine.memory_bytes as f64 / GIB as f64;
    let gpu = match &machine.gpu {
        None => "no GPU".to_owned(),
        Some(gpu) if gpu.usable => gpu.name.clone(),
        Some(gpu) => format!("{} not supported by this build", gpu.name),
    };
    format!("{memory:.1} GiB memory, {gpu}")
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no profile; there are small, standard and large"))
    }
}

impl ModelStore {
    /// What to pull for a profile; its fallback is the small one.
    pub fn plan(&self, choice: ProfileChoice) -> PullPlan {
        let models: Vec<Manifest> = choice
            .profile
            .model_ids()
            .iter()
            .filter_map(|id| self.catalogue().get(id).cloned())
            .collect();
        let download_bytes = models.iter().map(|manifest| self.missing_bytes(manifest)).sum();
        let fallback = (choice.profile != Profile::Small).then(|| {
            let reason = format!("the models of {} could not be reached", choice.profile);
            Box::new(self.plan(ProfileChoice {
                profile: Profile::Small,
                reason,
                overridden: false,
            }))
        });
        PullPlan {
            choice,
            models,
            download_bytes,
            fallback,
        }
    }

    /// Pulls a plan's models; when none of a model's sources can be reached, those of the plan's fallback instead,
    /// after a [`PullEvent::FellBack`].
    ///
    /// # Errors
    /// As [`ModelStore::pull`].
    pub async fn pull_plan(
        &self,
        plan: &PullPlan,
        options: &PullOptions,
        events: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<PulledPlan, PullError> {
        let mut plan = plan.clone();
        'plans: loop {
            let mut models = Vec::new();
            for manifest in &plan.models {
                match self.pull(&manifest.id, options, events).await {
                    Ok(installed) => models.push(installed),
                    Err(error) if error.is_unreachable() && plan.fallback.is_some() => {
                        let Some(mut fallback) = plan.fallback.take() else {
                            return Err(error);
                        };
                        fallback.choice.reason = format!("{}: {error}", fallback.choice.reason);
                        events(PullEvent::FellBack {
                            from: plan.choice.profile.to_string(),
                            to: fallback.choice.profile.to_string(),
                            reason: fallback.choice.reason.clone(),
                        });
                        plan = *fallback;
                        continue 'plans;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(PulledPlan {
                choice: plan.choice,
                models,
            });
        }
    }

    /// The model to use for a task: `preferred` if it is given, else the best ready one of the profile, of the smaller
    /// profiles, or any that is ready (run by us first, then imported ones).
    ///
    /// # Errors
    /// [`ModelError::NotReady`](super::ModelError::NotReady) or `Unknown` for a preferred model,
    /// [`ModelError::NoneReady`](super::ModelError::NoneReady) when there is none at all.
    pub fn resolve_default(
        &self,
        task: Task,
        profile: Profile,
        preferred: Option<&str>,
    ) -> Result<Installed, super::ModelError> {
        if let Some(id) = preferred {
            return self.ready(id);
        }
        let ordered = Profile::ALL
            .into_iter()
            .rev()
            .filter(|candidate| *candidate <= profile);
        let ids: Vec<&str> = match task {
            Task::Chat => ordered.flat_map(Profile::chat_models).copied().collect(),
            Task::Embedding => vec![EMBEDDING_MODEL],
            _ => Vec::new(),
        };
        if let Some(installed) = ids.iter().find_map(|id| self.ready(id).ok()) {
            return Ok(installed);
        }
        let mut others: Vec<Installed> = self.ready_models()?;
        others.retain(|installed| installed.manifest.task == task);
        others.sort_by_key(|installed| !installed.manifest.run_by_us);
        others
            .into_iter()
            .next()
            .ok_or_else(|| super::ModelError::NoneReady {
                task: format!("{task:?}").to_lowercase(),
                suggestion: ids.last().copied().unwrap_or(EMBEDDING_MODEL).to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::machine::Gpu;

    fn check(memory_gib: u64, gpu: Option<(u64, bool)>, wanted: Option<Profile>, expected: &str) {
        let gpu = gpu.map(|(gib, usable)| Gpu {
            name: "GPU X".into(),
            memory_bytes: Some(gib * GIB),
            usable,
        });
        let memory_bytes = memory_gib * GIB;
        let machine = Machine {
            memory_bytes,
            available_bytes: memory_bytes,
            processors: 2,
            gpu,
        };
        let choice = Profile::choose(&machine, wanted);
        assert_eq!(format!("{} | {}", choice.profile, choice.reason), expected);
        assert_eq!(choice.overridden, wanted.is_some());
    }

    #[test]
    fn the_machine_decides_and_says_why() {
        check(
            4,
            None,
            None,
            "small | 4.0 GiB memory, no GPU: small models, so that the rest of the machine keeps its memory",
        );
        check(
            24,
            None,
            None,
            "standard | 24.0 GiB memory, no GPU: standard models; the large ones would answer slowly on the processor alone",
        );
        check(
            24,
            Some((24, true)),
            None,
            "large | 24.0 GiB memory, GPU X: large models answer quickly on this GPU",
        );
        check(
            24,
            Some((24, false)),
            None,
            "standard | 24.0 GiB memory, GPU X not supported by this build: standard models; the large ones would answer slowly on the processor alone",
        );
        check(
            24,
            Some((4, true)),
            None,
            "standard | 24.0 GiB memory, GPU X: standard models; the large ones would not fit beside other programs",
        );
        check(
            4,
            None,
            Some(Profile::Large),
            "large | large was asked for; by itself this machine gets small (4.0 GiB memory, no GPU: small models, so that the rest of the machine keeps its memory)",
        );
        check(
            4,
            None,
            Some(Profile::Small),
            "small | small was asked for (4.0 GiB memory, no GPU)",
        );
    }

    #[test]
    fn every_profile_names_models_of_the_catalogue() {
        for profile in Profile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
            for id in profile.chat_models().iter().chain(&profile.model_ids()) {
                assert!(crate::models::Catalogue::embedded().get(id).is_some(), "{id}");
            }
        }
        assert!("huge".parse::<Profile>().is_err());
    }
}
