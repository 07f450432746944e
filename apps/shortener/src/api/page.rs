//! The page, embedded in the binary: the files of `web/` that a browser asks for, beside those that pages share.

use axum::Router;
use headwater_http::assets::Asset;

const FILES: &[Asset] = app_web::page! {
    "index.html" "style.css" "favicon.svg"
    "api.js" "app.js" "chart.js" "link-card.js" "link-form.js" "link-list.js" "terms.js" "topology.js"
    "visits.js"
};

pub(super) fn routes() -> Router {
    app_web::routes(FILES)
}
