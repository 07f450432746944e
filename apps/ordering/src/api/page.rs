//! The page, embedded in the binary: the files of `web/` that a browser asks for, beside those that pages share.

use axum::Router;
use headwater_http::assets::Asset;

const FILES: &[Asset] = app_web::page! {
    "index.html" "style.css" "favicon.svg"
    "api.js" "app.js" "backoff.js" "basket.js" "chooser.js" "customer.js" "events.js" "groups.js" "live.js"
    "money.js" "order-form.js" "placing.js" "rules.js" "shop.js" "spending.js" "storage.js"
};

pub(super) fn routes() -> Router {
    app_web::routes(FILES)
}
