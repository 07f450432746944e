//! All links, page by page, in the order of their codes.
//!
//! Nothing is held between two pages. A search looks at a bounded number of links at a time, and says where it goes on.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use futures_util::future::try_join_all;
use headwater::PageToken;
use headwater_http::args::QueryArgs;
use headwater_http::codes as common;
use headwater_http::freshness::Freshness;
use headwater_http::headers::Behind;
use headwater_http::problem::Problem;
use headwater_http::refusals::of_query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::LinkState;
use super::site::{Addressed, Site};
use crate::domain::{Code, Link};
use crate::instance::Instance;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// How often one request reads on before it answers with what it has.
const READS_MAX: usize = 50;

/// Which links are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListQuery {
    /// What the code or the address has to contain, in any letter case.
    search: Option<String>,
    /// Links at most, 50 unless set, up to 200.
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// One page of links.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LinkList {
    /// The links, in the order of their codes.
    links: Vec<Listed>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A link in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    #[serde(flatten)]
    link: LinkState,
    /// How often it was visited, as far as that is counted.
    visits: u64,
}

pub(super) async fn list(
    State(instance): State<Instance>,
    State(site): State<Site>,
    QueryArgs(query): QueryArgs<ListQuery>,
    headers: HeaderMap,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let site = site.addressed(&headers)?;
    let limit = limit(query.limit)?;
    let wanted = query.search.unwrap_or_default().to_lowercase();
    let (mut found, mut token) = (Vec::new(), query.after.map(PageToken::from));
    let mut behind = Behind::default();
    for _ in 0..READS_MAX {
        let view = instance.running.view(&instance.listed).map_err(of_query)?;
        let view = freshness.of(view);
        let page = freshness.bounded(view.scan(limit - found.len(), token.as_ref())).await?;
        behind = Behind::from(&page);
        let rows = page.value.rows.into_iter().filter(|(code, link)| is_match(code, link, &wanted));
        found.extend(rows.filter_map(|(code, link)| listed(&instance, code, link, &site)));
        token = page.value.next;
        if token.is_none() || found.len() == limit {
            break;
        }
    }
    let links = counted(&instance, found).await?;
    Ok((behind, Json(LinkList { links, next: token.map(|token| token.to_string()) })))
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(LIMIT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("limit must be 1 to {LIMIT_MAX}");
    Err(Problem::new(&common::INVALID_PARAMETER, detail).field("limit"))
}

fn is_match(code: &Code, link: &Link, wanted: &str) -> bool {
    let contains = |text: &str| text.to_lowercase().contains(wanted);
    contains(code.as_str()) || link.terms.as_ref().is_some_and(|terms| contains(terms.url.as_str()))
}

fn listed(instance: &Instance, code: Code, link: Link, site: &Addressed<'_>) -> Option<LinkState> {
    LinkState::of(code, link, instance.clock.now(), site).ok()
}

async fn counted(instance: &Instance, links: Vec<LinkState>) -> Result<Vec<Listed>, Problem> {
    let count = async |link: LinkState| {
        let visits = instance.running.view(&instance.total)?.get(&link.code).await?.value.unwrap_or_default();
        Ok(Listed { link, visits })
    };
    try_join_all(links.into_iter().map(count)).await.map_err(of_query)
}
