//! The page, embedded in the binary: the files of `web/` that a browser asks for.

use axum::Router;
use headwater_http::assets::{self, Asset};

const FILES: &[Asset] = &[];

pub(super) fn routes() -> Router {
    assets::routes(FILES)
}
