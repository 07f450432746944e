//! HTTP: links made, followed and counted, the page, and what operators look at.

pub mod codes;
mod links;
mod list;
mod lookup;
mod page;
mod problems;
mod qr;
mod redirect;
mod request;
mod site;
mod time;
mod visits;

use axum::Router;
use axum::extract::FromRef;
use headwater_http::metrics::Metrics;
use headwater_http::openapi::{Api, Operation};
use headwater_http::serve::Limits;
use headwater_http::{app, codes as common, problem};

pub use site::{InvalidPublicUrl, PublicUrl, Site};

use crate::instance::Instance;
use crate::metric_names;

/// The longest body: an address of 8,000 characters, each escaped as two halves of six bytes, and little beside.
const BODY_BYTES_MAX: usize = 128 * 1_024;

/// What one request may take of the server.
pub fn limits() -> Limits {
    Limits { body_bytes_max: BODY_BYTES_MAX, ..Limits::default() }
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    instance: Instance,
    site: Site,
}

impl FromRef<Shared> for Instance {
    fn from_ref(shared: &Shared) -> Self {
        shared.instance.clone()
    }
}

impl FromRef<Shared> for Site {
    fn from_ref(shared: &Shared) -> Self {
        shared.site.clone()
    }
}

/// Everything that the shortener answers; with `/metrics` where this process records them.
pub fn router(instance: Instance, site: Site, metrics: Option<&Metrics>) -> Router {
    metric_names::describe();
    let metrics = metrics.map(Metrics::routes).unwrap_or_default();
    api()
        .into_router()
        .with_state(Shared { instance: instance.clone(), site })
        .merge(app::topology(&instance.description))
        .merge(app::health(&instance.running, instance.parts).routes())
        .merge(problem::routes(codes::ALL))
        .merge(page::routes())
        .merge(metrics)
}

fn api() -> Api<Shared> {
    let create = Operation::new("Shorten an address")
        .description(
            "The same terms (address, validUntil, maxVisits) again answer the same link. Other terms are another \
             link, with a code of its own; a code is given once, and never to another link.",
        )
        .body::<request::LinkRequest>()
        .answers::<links::Made>(201, "The link is there, and redirects at every instance.")
        .problems(&[&common::INVALID_BODY, &codes::ALIAS_TAKEN, &codes::CODE_TAKEN, &codes::LINK_OVER])
        .problems(COMMAND_PROBLEMS);
    let list = Operation::new("List links")
        .reads_view()
        .query::<list::ListQuery>()
        .answers::<list::LinkList>(200, "A page of links, in the order of their codes.")
        .problems(&[&common::NOT_THIS_INSTANCE]);
    let show = Operation::new("Tell a link")
        .answers::<links::LinkState>(200, "The link.")
        .problems(&[&codes::NO_SUCH_LINK, &codes::LINK_DELETED]);
    let delete = Operation::new("Delete a link")
        .description("Its code stays taken; making the same link again brings it back.")
        .answers_nothing(204, "The link leads nowhere.")
        .problems(&[&codes::NO_SUCH_LINK])
        .problems(COMMAND_PROBLEMS);
    let qr = Operation::new("Draw a link's QR code")
        .answers_nothing(200, "The short address as SVG.")
        .problems(&[&codes::NO_SUCH_LINK, &codes::LINK_DELETED]);
    let visits = Operation::new("Count a link's visits")
        .reads_view()
        .query::<visits::VisitsQuery>()
        .answers::<visits::Visits>(200, "The visits, as far as they are counted.")
        .problems(&[&codes::NO_SUCH_LINK, &codes::LINK_DELETED, &common::NOT_THIS_INSTANCE]);
    let stream = Operation::new("Follow a link's visits")
        .description("A `reset` event has all counts; a `change` event has one count as it is now.")
        .query::<visits::FollowQuery>()
        .streams::<visits::Count>("Counts as they change.")
        .problems(&[&codes::NO_SUCH_LINK, &codes::LINK_DELETED, &common::VIEW_BUILDING])
        .problems(&[&common::INVALID_HEADER, &common::NOT_THIS_INSTANCE]);
    let follow = Operation::new("Follow a link")
        .description("Location is the link's address byte for byte. HEAD answers alike and counts nothing.")
        .answers_nothing(302, "The redirect; the visit is durable, and will be counted.")
        .problems(&[&codes::NO_SUCH_LINK, &codes::LINK_EXPIRED, &codes::LINK_EXHAUSTED, &codes::LINK_DELETED])
        .problems(COMMAND_PROBLEMS);
    Api::new("Shortener", env!("CARGO_PKG_VERSION"))
        .post("/links", create, links::create)
        .get("/links", list, list::list)
        .get("/links/{code}", show, links::show)
        .delete("/links/{code}", delete, links::delete)
        .get("/links/{code}/qr.svg", qr, qr::draw)
        .get("/links/{code}/visits", visits, visits::count)
        .get("/links/{code}/visits/stream", stream, visits::follow)
        .get("/{code}", follow, redirect::follow)
}

/// What any request that writes may be answered.
const COMMAND_PROBLEMS: &[&common::Code] = &[
    &common::OVERLOADED,
    &common::OUTCOME_UNKNOWN,
    &common::UNAVAILABLE,
    &common::STORAGE_FULL,
    &common::NOT_THIS_INSTANCE,
];
