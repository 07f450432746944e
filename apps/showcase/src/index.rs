//! The page that leads to the systems, and whether they are ready.

use std::net::SocketAddr;

use axum::Router;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use headwater::{Parts, Running};
use headwater_http::app;
use headwater_http::assets::{self, Asset};
use headwater_http::health::Health;

const FILES: &[Asset] = &[
    Asset::new("/", "index.html", include_bytes!("../web/index.html")),
    Asset::new("/style.css", "style.css", include_bytes!("../web/style.css")),
    Asset::new("/favicon.svg", "favicon.svg", include_bytes!("../web/favicon.svg")),
];

/// Where the systems listen.
pub(crate) struct Systems {
    pub(crate) ordering: SocketAddr,
    pub(crate) shortener: SocketAddr,
}

pub(crate) fn routes(systems: Systems, apps: &[Running], parts: Parts) -> Router {
    let leads_to = |system: SocketAddr| {
        get(async move |headers: HeaderMap| {
            (StatusCode::FOUND, [(header::LOCATION, beside(&headers, system))])
        })
    };
    Router::new()
        .route("/ordering", leads_to(systems.ordering))
        .route("/shortener", leads_to(systems.shortener))
        .merge(health(apps, parts).routes())
        .merge(assets::routes(FILES))
}

/// Another port of the host that the client asked for.
fn beside(headers: &HeaderMap, system: SocketAddr) -> String {
    let asked = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = asked.map(|asked| asked.host().to_owned());
    host.map_or_else(|| format!("http://{system}/"), |host| format!("http://{host}:{}/", system.port()))
}

/// What each system tells of itself, under its name: the process is ready once both are.
fn health(apps: &[Running], parts: Parts) -> Health {
    apps.iter().fold(Health::new(), |health, app| health.part(app.name(), app::health(app, parts)))
}
