//! The page, embedded in the binary: the files of `web/` that a browser asks for.

use axum::Router;
use headwater_http::assets::{self, Asset};

macro_rules! files {
    ($($name:literal)*) => {
        &[
            Asset::new("/", "index.html", include_bytes!("../../web/index.html")),
            $(Asset::new(concat!("/", $name), $name, include_bytes!(concat!("../../web/", $name)))),*
        ]
    };
}

const FILES: &[Asset] = files! {
    "index.html" "style.css" "favicon.svg"
    "api.js" "app.js" "chart.js" "field.js" "html.js" "link-card.js" "link-form.js" "link-list.js" "terms.js"
    "topology.js" "visits.js"
    "vendor/htm.js" "vendor/preact.js" "vendor/preact-hooks.js"
};

pub(super) fn routes() -> Router {
    assets::routes(FILES)
}
