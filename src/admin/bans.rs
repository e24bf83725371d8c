//! `/api/v1/bans`: who is shut out, by whom and until when.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::engine::time::Millis;
use crate::gate::Source;

use super::directory::Directory;
use super::json::{BanJson, Bans};
use super::refusal::Refusal;
use super::routes::{Shared, limit_of, query_of};

/// The longest ban that can be ordered: 30 days, as in the configuration.
const SPAN_MAX_MS: u64 = 30 * 24 * 3600 * 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
}

pub(super) async fn bans<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Bans>, Refusal> {
    let limit = limit_of(query_of(query)?.limit)?;
    let found = state.directory.bans(limit).into_iter();
    let bans = found.take(limit).map(BanJson::from).collect();
    Ok(Json(Bans { bans }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BanQuery {
    source: String,
    for_ms: Option<u64>,
}

pub(super) async fn ban<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<BanQuery>, QueryRejection>,
) -> Result<(StatusCode, Json<BanJson>), Refusal> {
    let query = query_of(query)?;
    let source = source_of(&query.source)?;
    let span = match query.for_ms {
        None => None,
        Some(span @ 1..=SPAN_MAX_MS) => Some(Millis(span)),
        Some(_) => {
            return Err(Refusal::bad_request(format!(
                "for_ms is a number of milliseconds from 1 to {SPAN_MAX_MS}"
            )));
        }
    };
    let Some(ban) = state.directory.ban(source, span) else {
        return Err(Refusal::conflict("no more sources can be shut out"));
    };
    tracing::info!(%source, "banned by the admin interface");
    Ok((StatusCode::CREATED, Json(ban.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftQuery {
    source: String,
}

pub(super) async fn lift<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<LiftQuery>, QueryRejection>,
) -> Result<StatusCode, Refusal> {
    let source = source_of(&query_of(query)?.source)?;
    if !state.directory.lift(source) {
        return Err(Refusal::not_found("no such ban"));
    }
    tracing::info!(%source, "ban lifted by the admin interface");
    Ok(StatusCode::NO_CONTENT)
}

fn source_of(text: &str) -> Result<Source, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad_request("source is an IP address, or an IPv6 network of 64 bits"))
}
