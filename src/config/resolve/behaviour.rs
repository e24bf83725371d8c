//! `fork`, `detect`, `restore`, `notice`, `messages`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, key, operation::count, sound};
use crate::config::file::{self, NoticeText, PerKind as PerKindOfFile, TextOr};
use crate::config::tree::Step;
use crate::engine::settings::{
    Decline, DetectSettings, EarlyDialogs, FailureCause, ForkOrder, ForkSettings, MessageSettings,
    NoticeSettings, PerKind, Pickup, ProbeSettings, Redirects, ReferPolicy, RefresherChoice,
    RestoreOrder, RestoreSettings, RetrySettings, RouteFork, SessionTimerSettings,
};
use crate::engine::time::Millis;

const LANGUAGES_MAX: usize = 64;
const CAUSES_MAX: usize = 64;

pub(super) fn fork(fork: &file::Fork) -> ForkSettings {
    ForkSettings {
        order: match fork.order {
            file::Order::Parallel => ForkOrder::Parallel,
            file::Order::Q => ForkOrder::Q,
            file::Order::Serial => ForkOrder::Serial,
        },
        ring_timeout: Millis(fork.ring_timeout.0),
        early_dialogs: match fork.early_dialogs {
            file::EarlyDialogs::Forward => EarlyDialogs::Forward,
            file::EarlyDialogs::Single => EarlyDialogs::Single,
        },
        failover: Millis(fork.failover.0),
        reliable_provisionals: fork.reliable_provisionals,
        redirects: redirects(fork.redirects),
        pickup: match fork.pickup {
            file::Pickup::Domain => Pickup::Domain,
            file::Pickup::Own => Pickup::Own,
            file::Pickup::Off => Pickup::Off,
        },
    }
}

pub(super) fn route_fork(fork: &file::RouteFork) -> RouteFork {
    RouteFork {
        ring_timeout: fork.ring_timeout.map(|span| Millis(span.0)),
        redirects: fork.redirects.map(redirects),
    }
}

fn redirects(redirects: file::Redirects) -> Redirects {
    match redirects {
        file::Redirects::Follow => Redirects::Follow,
        file::Redirects::Pass => Redirects::Pass,
    }
}

pub(super) fn refer(refer: file::Refer) -> ReferPolicy {
    match refer {
        file::Refer::Execute => ReferPolicy::Execute,
        file::Refer::Pass => ReferPolicy::Pass,
    }
}

pub(super) fn detect(detect: &file::Detect, check: &mut Check<'_>) -> DetectSettings {
    let media = match &detect.media {
        TextOr::Text(_) => None,
        TextOr::Map(media) => Some(media),
    };
    DetectSettings {
        grace: Millis(detect.grace.0),
        transport: detect.transport,
        registration: detect.registration,
        probe: match &detect.probe {
            TextOr::Text(_) => None,
            TextOr::Map(probe) => Some(ProbeSettings {
                interval: Millis(probe.interval.0),
                timeout: Millis(probe.timeout.0),
                tries: small(probe.tries.0),
            }),
        },
        outage: Millis(detect.outage.0),
        media_silence: media.map(|m| Millis(m.silence.0)),
        media_confirm: media.is_none_or(|m| m.confirm),
        session_timer: match &detect.session_timer {
            TextOr::Text(_) => None,
            TextOr::Map(timer) => Some(session_timer(timer, check)),
        },
        failure_bye: detect
            .failure_bye
            .iter()
            .take(CAUSES_MAX)
            .map(|cause| match cause {
                file::FailureCause::Sip(status) => FailureCause::Sip(*status),
                file::FailureCause::Q850(cause) => FailureCause::Q850(*cause),
            })
            .collect(),
    }
}

fn session_timer(timer: &file::SessionTimer, check: &mut Check<'_>) -> SessionTimerSettings {
    if timer.expires.0 < timer.min.0 {
        check.problem(
            &key("detect.session_timer.expires"),
            format!(
                "expires ({}) is shorter than min ({})",
                timer.expires, timer.min
            ),
            "what is asked for is at least what is taken",
        );
    }
    let seconds = |span: u64| small(Millis(span).as_secs_ceil());
    SessionTimerSettings {
        expires_s: seconds(timer.expires.0),
        min_s: seconds(timer.min.0),
        refresher: match timer.refresher {
            file::Refresher::Auto => RefresherChoice::Auto,
            file::Refresher::Uac => RefresherChoice::Uac,
            file::Refresher::Uas => RefresherChoice::Uas,
        },
    }
}

/// Ranges of the file keep these far below the type's end.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Resolves a value per kind; what a map leaves out has its default.
fn per_kind<const MIN: u64, const MAX: u64>(
    value: &PerKindOfFile<MIN, MAX>,
    default: &PerKindOfFile<MIN, MAX>,
) -> PerKind<Millis> {
    let of = |value: &PerKindOfFile<MIN, MAX>| match value {
        TextOr::Text(both) => (Some(both.0), Some(both.0)),
        TextOr::Map(kinds) => (kinds.audio.map(|s| s.0), kinds.message.map(|s| s.0)),
    };
    let ((audio, message), (default_audio, default_message)) = (of(value), of(default));
    PerKind {
        audio: Millis(audio.or(default_audio).unwrap_or(MIN)),
        message: Millis(message.or(default_message).unwrap_or(MIN)),
    }
}

pub(super) fn restore(
    restore: &file::Restore,
    directory: &Path,
    check: &mut Check<'_>,
) -> RestoreSettings {
    let default = file::Restore::default();
    let retry = &restore.retry;
    if retry.max.0 < retry.first.0 {
        check.problem(
            &key("restore.retry.max"),
            format!(
                "max ({}) is shorter than first ({})",
                retry.max, retry.first
            ),
            "waits grow from first to max",
        );
    }
    RestoreSettings {
        order: match restore.order {
            file::RestoreOrder::SameFirst => RestoreOrder::SameFirst,
            file::RestoreOrder::All => RestoreOrder::All,
            file::RestoreOrder::Q => RestoreOrder::Q,
        },
        same_first_for: per_kind(&restore.same_first_for, &default.same_first_for),
        auto_answer_same: restore.auto_answer == file::AutoAnswer::SameEndpoint,
        avoid_voicemail: restore.avoid_voicemail,
        decline: match restore.decline {
            file::Decline::Person => Decline::Person,
            file::Decline::Endpoint => Decline::Endpoint,
        },
        spare_busy: restore.spare_busy,
        ring_timeout: Millis(restore.ring_timeout.0),
        retry: RetrySettings {
            first: Millis(retry.first.0),
            factor: retry.factor.0,
            max: Millis(retry.max.0),
            jitter: retry.jitter.0,
        },
        timeout: per_kind(&restore.timeout, &default.timeout),
        filler: sound::filler(&restore.filler, directory, check),
        max_per_conversation: small(restore.max_per_conversation.0),
        rate: small(restore.rate.0),
    }
}

pub(super) fn notice(notice: &file::Notice, check: &mut Check<'_>) -> NoticeSettings {
    if !is_language(&notice.language) {
        check.problem(
            &key("notice.language"),
            format!("`{}` is no language", notice.language),
            "a tag of RFC 5646: en, pt-BR",
        );
    }
    NoticeSettings {
        continued: texts(&notice.continued, &CONTINUED, &notice.language, check),
        failed: texts(&notice.failed, &FAILED, &notice.language, check),
        too_often: texts(&notice.too_often, &TOO_OFTEN, &notice.language, check),
        undelivered: texts(&notice.undelivered, &UNDELIVERED, &notice.language, check),
        anonymous: texts(&notice.anonymous, &ANONYMOUS, &notice.language, check),
        other_phone: texts(&notice.other_phone, &OTHER_PHONE, &notice.language, check),
        language: notice.language.to_ascii_lowercase().into(),
        out_of_dialog: notice.fallback.contains(&file::Fallback::OutOfDialog),
        tone: notice.fallback.contains(&file::Fallback::Tone),
        exempt: notice
            .exempt
            .iter()
            .map(|pattern| pattern.0.to_lowercase().into())
            .collect(),
    }
}

/// One of the texts, and what is filled in there.
struct Occasion {
    key: &'static str,
    placeholders: &'static [&'static str],
}

const CONTINUED: Occasion = Occasion {
    key: "continued",
    placeholders: &["{participant}", "{endpoint}"],
};

const FAILED: Occasion = Occasion {
    key: "failed",
    placeholders: &["{participant}", "{undelivered}"],
};

const TOO_OFTEN: Occasion = Occasion {
    key: "too_often",
    placeholders: FAILED.placeholders,
};

const UNDELIVERED: Occasion = Occasion {
    key: "undelivered",
    placeholders: FAILED.placeholders,
};

const ANONYMOUS: Occasion = Occasion {
    key: "anonymous",
    placeholders: &[],
};

const OTHER_PHONE: Occasion = Occasion {
    key: "other_phone",
    placeholders: &[],
};

impl Occasion {
    /// Refuses a placeholder that the other text has: people would read it as it stands.
    fn check(&self, text: &str, path: &[Step<'_>], check: &mut Check<'_>) {
        for placeholder in CONTINUED.placeholders.iter().chain(FAILED.placeholders) {
            if text.contains(placeholder) && !self.placeholders.contains(placeholder) {
                check.problem(
                    path,
                    format!("`{placeholder}` is not known when this is said"),
                    &match self.placeholders {
                        [] => "nothing is filled in here".to_owned(),
                        known => format!("placeholders here are {}", known.join(" and ")),
                    },
                );
            }
        }
    }
}

/// Resolves a text; the key "" holds the one for no language in particular.
fn texts(
    text: &NoticeText,
    occasion: &Occasion,
    language: &str,
    check: &mut Check<'_>,
) -> BTreeMap<Box<str>, Box<str>> {
    let path = [Step::Key("notice"), Step::Key(occasion.key)];
    let map = match text {
        TextOr::Text(text) => {
            occasion.check(&text.0, &path, check);
            return BTreeMap::from([(Box::from(""), Box::from(text.0.as_str()))]);
        }
        TextOr::Map(map) => map,
    };
    if map.0.len() > LANGUAGES_MAX {
        check.problem(
            &path,
            format!("there are more than {LANGUAGES_MAX} languages"),
            "",
        );
    }
    let mut texts = BTreeMap::new();
    for (tag, text) in &map.0 {
        if !is_language(tag) {
            check.key_problem(
                &[path[0], path[1], Step::Key(tag)],
                format!("`{tag}` is no language"),
                "a tag of RFC 5646: en, pt-BR",
            );
        }
        occasion.check(&text.0, &[path[0], path[1], Step::Key(tag)], check);
        let text: Box<str> = text.0.as_str().into();
        if tag.eq_ignore_ascii_case(language) {
            texts.insert("".into(), text.clone());
        }
        texts.insert(tag.to_ascii_lowercase().into(), text);
    }
    if !texts.contains_key("") {
        check.problem(
            &path,
            format!("there is no text in `{language}`, the language of `notice.language`"),
            "",
        );
    }
    texts
}

fn is_language(tag: &str) -> bool {
    const SUBTAG_MAX: usize = 8;
    let mut subtags = tag.split('-');
    subtags.next().is_some_and(|s| {
        (2..=SUBTAG_MAX).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphabetic())
    }) && subtags.all(|s| {
        (1..=SUBTAG_MAX).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

pub(super) fn messages(messages: &file::Messages, check: &mut Check<'_>) -> MessageSettings {
    let queue = &messages.queue;
    if queue.total_bytes.0 < queue.bytes_per_conversation.0 {
        check.problem(
            &key("messages.queue.total_bytes"),
            format!(
                "total_bytes ({}) is less than bytes_per_conversation ({})",
                queue.total_bytes, queue.bytes_per_conversation
            ),
            "",
        );
    }
    MessageSettings {
        suspect_after: Millis(messages.suspect_after.0),
        per_conversation: count(queue.per_conversation.0),
        bytes_per_conversation: count(queue.bytes_per_conversation.0),
        total_bytes: count(queue.total_bytes.0),
        max_age: Millis(queue.max_age.0),
    }
}
