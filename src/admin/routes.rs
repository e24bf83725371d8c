//! The paths, and what each does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::engine::ids::{Aor, ConversationId, Side};
use crate::engine::ports::Command;
use crate::engine::view::{Detail, Stage};

use super::AdminState;
use super::bans;
use super::directory::{Directory, Unanswered};
use super::guard::{self, Token};
use super::json::{
    BindingJson, Bindings, ConversationJson, Conversations, DetailJson, UpstreamJson, Upstreams,
};
use super::refusal::Refusal;

/// How long a question to the shards may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take for the server to count as ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// How many conversations, newest first, are looked through for a state.
const SEARCHED_MAX: usize = 10_000;
/// No request has a body that is read.
const BODY_MAX: usize = 1024;

pub(super) type Shared<D> = Arc<AdminState<D>>;

/// Makes the router.
pub(super) fn router<D: Directory>(state: AdminState<D>) -> Router {
    let token = Token::new(state.token.as_deref());
    let guarded = Router::new()
        .route("/metrics", get(metrics::<D>))
        .route("/api/v1/conversations", get(conversations::<D>))
        .route(
            "/api/v1/conversations/{id}",
            get(conversation::<D>).delete(hang_up::<D>),
        )
        .route("/api/v1/conversations/{id}/lost", post(declare_lost::<D>))
        .route("/api/v1/bindings", get(bindings::<D>))
        .route(
            "/api/v1/bans",
            get(bans::bans::<D>)
                .post(bans::ban::<D>)
                .delete(bans::lift::<D>),
        )
        .route("/api/v1/upstreams", get(upstreams::<D>))
        .route("/api/v1/upstreams/pauses", delete(resume::<D>))
        .layer(middleware::from_fn_with_state(token, guard::check));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<D>))
        .merge(guarded)
        .fallback(async || Refusal::not_found("no such path"))
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(guard::fits))
        .with_state(Arc::new(state))
}

async fn ready<D: Directory>(State(state): State<Shared<D>>) -> Response {
    if !state.directory.is_listening() {
        return Refusal::unavailable("draining: the node is about to stop").into_response();
    }
    match within(READY_TIMEOUT, state.directory.readings()).await {
        Ok(_) => "ready\n".into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn metrics<D: Directory>(State(state): State<Shared<D>>) -> Result<Response, Refusal> {
    let asked = Instant::now();
    let readings = within(ANSWER_TIMEOUT, state.directory.readings()).await?;
    let text = state.metrics.render(&readings, asked.elapsed());
    let content_type = [(header::CONTENT_TYPE, crate::metrics::Metrics::CONTENT_TYPE)];
    Ok((content_type, text).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    state: Option<String>,
}

async fn conversations<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Conversations>, Refusal> {
    let query = query_of(query)?;
    let limit = limit_of(query.limit)?;
    let stage = query.state.as_deref().map(stage_of).transpose()?;
    let asked = if stage.is_some() { SEARCHED_MAX } else { limit };
    let found = within(ANSWER_TIMEOUT, state.directory.list(asked)).await?;
    let conversations = found
        .into_iter()
        .filter(|summary| stage.is_none_or(|stage| summary.stage == stage))
        .take(limit)
        .map(ConversationJson::from)
        .collect();
    Ok(Json(Conversations { conversations }))
}

async fn conversation<D: Directory>(
    State(state): State<Shared<D>>,
    Path(id): Path<String>,
) -> Result<Json<DetailJson>, Refusal> {
    Ok(Json(find(&state, &id).await?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LostQuery {
    side: Side,
}

#[derive(Debug, Serialize)]
struct Ordered {
    id: String,
    ordered: &'static str,
}

async fn declare_lost<D: Directory>(
    State(state): State<Shared<D>>,
    Path(id): Path<String>,
    query: Result<Query<LostQuery>, QueryRejection>,
) -> Result<(StatusCode, Json<Ordered>), Refusal> {
    let side = query_of(query)?.side;
    let found = find_live(&state, &id).await?;
    if found.summary.answered.is_none() {
        return Err(Refusal::conflict("the conversation is not answered yet"));
    }
    let command = Command::DeclareLost {
        conversation: found.summary.key,
        side,
    };
    order(&state, found, command, "lost").await
}

async fn hang_up<D: Directory>(
    State(state): State<Shared<D>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Ordered>), Refusal> {
    let found = find_live(&state, &id).await?;
    let command = Command::HangUp {
        conversation: found.summary.key,
    };
    order(&state, found, command, "hang_up").await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingsQuery {
    aor: Option<String>,
    limit: Option<usize>,
}

async fn bindings<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<BindingsQuery>, QueryRejection>,
) -> Result<Json<Bindings>, Refusal> {
    let query = query_of(query)?;
    let limit = limit_of(query.limit)?;
    let aor = query.aor.map(Aor::from_canonical);
    let found = state.directory.bindings(aor.as_ref(), limit);
    let bindings = found
        .into_iter()
        .take(limit)
        .map(BindingJson::from)
        .collect();
    Ok(Json(Bindings { bindings }))
}

async fn upstreams<D: Directory>(
    State(state): State<Shared<D>>,
) -> Result<Json<Upstreams>, Refusal> {
    let found = within(ANSWER_TIMEOUT, state.directory.upstreams()).await?;
    let upstreams = found.into_iter().map(UpstreamJson::from).collect();
    Ok(Json(Upstreams { upstreams }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseQuery {
    target: String,
}

async fn resume<D: Directory>(
    State(state): State<Shared<D>>,
    query: Result<Query<PauseQuery>, QueryRejection>,
) -> Result<StatusCode, Refusal> {
    let target = query_of(query)?.target;
    if !within(ANSWER_TIMEOUT, state.directory.resume(&target)).await? {
        return Err(Refusal::not_found("no such pause"));
    }
    tracing::info!(target_uri = target, "pause lifted by the admin interface");
    Ok(StatusCode::NO_CONTENT)
}

/// Hands an order over and says so: 202, since the shard carries it out later.
async fn order<D: Directory>(
    state: &AdminState<D>,
    found: Detail,
    command: Command,
    ordered: &'static str,
) -> Result<(StatusCode, Json<Ordered>), Refusal> {
    within(ANSWER_TIMEOUT, state.directory.command(command)).await?;
    let span = state.spans.of(found.summary.key);
    tracing::info!(parent: &span, ordered, "ordered by the admin interface");
    let id = found.summary.id;
    Ok((StatusCode::ACCEPTED, Json(Ordered { id, ordered })))
}

async fn find_live<D: Directory>(state: &AdminState<D>, id: &str) -> Result<Detail, Refusal> {
    let found = find(state, id).await?;
    if found.summary.ended.is_some() || found.summary.stage == Stage::Ended {
        return Err(Refusal::conflict("the conversation has ended"));
    }
    Ok(found)
}

async fn find<D: Directory>(state: &AdminState<D>, id: &str) -> Result<Detail, Refusal> {
    let missing = || Refusal::not_found("no such conversation");
    let id: ConversationId = id.parse().map_err(|_| missing())?;
    let found = within(ANSWER_TIMEOUT, state.directory.detail(id)).await?;
    found.ok_or_else(missing)
}

/// Waits for the shards no longer than `limit`.
async fn within<T>(
    limit: Duration,
    question: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Refusal> {
    match timeout(limit, question).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Unanswered.into()),
    }
}

pub(super) fn query_of<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Refusal::bad_request(rejection.body_text())),
    }
}

pub(super) fn limit_of(limit: Option<usize>) -> Result<usize, Refusal> {
    match limit {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => Err(Refusal::bad_request(format!(
            "limit is a number from 1 to {LIMIT_MAX}"
        ))),
    }
}

fn stage_of(word: &str) -> Result<Stage, Refusal> {
    Stage::ALL
        .into_iter()
        .find(|stage| stage.as_str() == word)
        .ok_or_else(|| {
            let words = Stage::ALL.map(Stage::as_str).join(", ");
            Refusal::bad_request(format!("state is one of {words}"))
        })
}
