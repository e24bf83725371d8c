//! What this version has not got: a warning where the key is set and leaving it out does no harm, an
//! error where it would.

use super::{Check, key};
use crate::config::file::{Fallback, File, MediaMode, Store};

/// Keys that are warned of when they are set.
const WITHOUT_EFFECT: &[&str] = &[
    "messages.page_idle",
    "media.rtpengine",
    "store",
    "history.max",
    "capture.hep",
];

pub(super) fn check(file: &File, check: &mut Check<'_>) {
    for &name in WITHOUT_EFFECT {
        let says_nothing = match name {
            "media.rtpengine" => {
                file.media.rtpengine.is_empty() || file.media.mode == MediaMode::Rtpengine
            }
            "store" => matches!(file.store, Store::Redis(_)),
            _ => false,
        };
        if check.is_set(&key(name)) && !says_nothing {
            check.warn(format!("`{name}` has no effect in this version"));
        }
    }
    if file.messages.store_and_forward && check.is_set(&key("messages.store_and_forward")) {
        check.warn("`messages.store_and_forward: true` has no effect in this version");
    }
    if file.notice.fallback.contains(&Fallback::Tone) && file.media.mode == MediaMode::Direct {
        check.warn("`notice.fallback`: `tone` has no effect with `media.mode: direct`");
    }
    refuse(file, check);
}

/// To leave these out would be dangerous, or leave nothing that works.
fn refuse(file: &File, check: &mut Check<'_>) {
    if file.media.mode == MediaMode::Rtpengine {
        check.problem(
            &key("media.mode"),
            "this version has not got rtpengine yet",
            "use relay, the built-in one, or direct",
        );
    }
    if let Store::Redis(url) = &file.store {
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            check.problem(
                &key("store.redis"),
                "this is no URL of a Redis",
                "redis://host:port",
            );
        }
        check.problem(
            &key("store"),
            "this version has not got Redis yet",
            "use embedded",
        );
    }
}
